"""A shell that waits for a next command is killed, on the host or in the pod: the command runs once, in a new one."""

from __future__ import annotations

import itertools

import pytest

from lfgpods import Command, LfgpodsError, Owner
from tests.faults.figures import Figures, check, scaled
from tests.faults.grounds import Ground

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]

SHELL = "lfg_scrip[t]"
"""What its processes have on their command lines; those that look for them with this expression do not match it."""
KILL = """
for signal in STOP KILL; do # one that a process which is not stopped began meanwhile would live on
  for process in /proc/[0-9]*; do
    grep -qs "$1" "$process/cmdline" && kill "-$signal" "${process#/proc/}" && echo "$signal"
  done
done
"""


def kill_on_host(ground: Ground, owner: Owner) -> None:
    """End the kubectl that OWNER's shell hangs on."""
    done = ground.sh('pkill -KILL -f "$1"', f"exec -i -n {owner.names.namespace} .*{SHELL}")
    assert done.exit_code == 0, done


def kill_in_pod(ground: Ground, owner: Owner) -> None:
    """End OWNER's shell itself."""
    (pod,) = ground.running_pods(owner)
    done = ground.kubectl("exec", "-n", owner.names.namespace, pod, "--", "sh", "-c", KILL, "sh", SHELL)
    assert b"KILL" in done.stdout, done


def test_killing_an_idle_shell_goes_unnoticed(real: Ground, figures: Figures) -> None:
    runs = figures.begin("exec behind a shell that was killed", "0 that do not run once", scaled(60))
    owner = real.new_owner("shell")
    killers = itertools.cycle((kill_on_host, kill_on_host, kill_in_pod))
    with real.manager() as manager:
        manager.ensure(owner)
        tries = [(f"mark{number}", next(killers)) for number in range(scaled(60))]
        for mark, kill in tries:
            assert manager.exec(owner, Command("true"))
            kill(real, owner)
            runs.tried()
            runs.note(kill.__name__)
            try:
                assert manager.exec(owner, Command(f"echo {mark} >>/tmp/ran")).exit_code == 0
            except LfgpodsError as error:
                runs.breaks(f"{mark}, {kill.__name__}: {error.code} {error}")
        ran = manager.exec(owner, Command("cat /tmp/ran")).stdout.decode().split()
    for mark, kill in tries:
        if ran.count(mark) != 1:
            runs.breaks(f"{mark}, {kill.__name__}: ran {ran.count(mark)} times")
    real.purge(owner)
    check(runs)
