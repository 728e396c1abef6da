"""`python -m tests.faults.crowd same|mixed ID TIMES`: one of many processes that use lfgpods at the same time.

Says as one JSON object which pods it was given, and what it got that was not right.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from lfgpods import Command, LfgpodsError, Owner, PodManager
from lfgpods.core.pod import State

ROUND = ("create", "exec", "exec", "exec", "exec", "delete")


def create(manager: PodManager, owner: Owner) -> str:
    pod = manager.ensure(owner)
    if pod.status is not State.RUNNING or not pod.pod_name:
        raise ValueError(f"create gave a pod that is {pod.status}")
    return pod.pod_name


def execute(manager: PodManager, owner: Owner, number: int) -> None:
    """Run a command whose output and exit code only this call can have."""
    text, code = f"{owner.id} {number}", number % 256
    result = manager.exec(owner, Command(f"printf %s '{text}'; printf 'err %s' '{text}' >&2; exit {code}"))
    found = (result.exit_code, result.stdout.decode(), result.stderr.decode())
    if found != (code, text, f"err {text}"):
        raise ValueError(f"exec gave {found}, not {code} and {text!r}")


def use(behaviour: str, owner: Owner, times: int) -> dict[str, Any]:
    pods: list[str] = []
    wrong: list[str] = []
    done = 0
    with PodManager() as manager:
        for number in range(times):
            verb = "create" if behaviour == "same" else ROUND[number % len(ROUND)]
            try:
                if verb == "create":
                    pods.append(create(manager, owner))
                elif verb == "exec":
                    execute(manager, owner, number)
                else:
                    manager.delete(owner)
                done += 1
            except (LfgpodsError, ValueError) as error:
                wrong.append(f"{verb} {number} of {owner.id}: {error}")
    return {"pods": pods, "wrong": wrong, "done": done}


if __name__ == "__main__":
    print(json.dumps(use(sys.argv[1], Owner.project(sys.argv[2]), int(sys.argv[3]))))
