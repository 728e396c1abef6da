"""demo: the main job, step by step, with the commands that do it."""

from __future__ import annotations

import os
import secrets
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import Annotated, NamedTuple

import typer

from lfgpods.core.kinds import HostKind


class Step(NamedTuple):
    """A comment to print, a command to run after it, and the exit code that it has to end with."""

    comment: str
    command: tuple[str, ...]
    exit_code: int = 0


STEPS = (
    Step("A project gets a pod of its own.", ("create",)),
    Step(
        "A command runs in it, and writes a file to the volume at /workspace.", ("exec", "-c", "date > born; cat born")
    ),
    Step("Streams and exit codes are the command's own.", ("exec", "-c", "echo to stderr >&2; exit 3"), 3),
    Step("The pod is deleted; the data stays.", ("delete",)),
    Step("A new pod comes back on the same volume ...", ("create", "-o", "name")),
    Step("... and the file is there.", ("exec", "-c", "cat born")),
    Step("Purge removes everything, the data too.", ("delete", "--purge", "--yes")),
)


def demo(host: Annotated[HostKind, typer.Option(help="Where to run it.")] = HostKind.EMBEDDED) -> None:
    """Show the main job: a pod, a command, a delete, and the file that outlives it.

    Runs on the embedded host, which needs no Kubernetes, and leaves nothing behind.
    """
    project = f"demo-{secrets.token_hex(2)}"
    with tempfile.TemporaryDirectory(prefix="lfgpods-demo-") as folder:
        environment = _environment(host, folder)
        done = False
        try:
            for step in STEPS:
                _run(step, project, environment)
            done = True
        finally:
            if not done:
                _lfgpods(["delete", "--project-id", project, "--purge", "--yes"], environment)
    _say("Done. Nothing is left behind.")
    if host is HostKind.EMBEDDED:
        _say("Try it yourself: export LFGPODS_HOST=embedded, and type the commands above.")


def _environment(host: HostKind, folder: str) -> Mapping[str, str]:
    """The environment of the commands: the user's own, but with the database, log and volumes in FOLDER."""
    environment = {
        **os.environ,
        "LFGPODS_HOST": host.value,
        "LFGPODS_DATABASE": os.path.join(folder, "lfgpods.db"),
        "LFGPODS_LOG_FILE": os.path.join(folder, "lfgpods.log"),
        "LFGPODS_EMBEDDED_FOLDER": os.path.join(folder, "embedded"),
        "LFGPODS_KEEP": "",
    }
    if host is HostKind.EMBEDDED:
        environment["LFGPODS_VOLUME_ROOT"] = os.path.join(folder, "volumes")
    return environment


def _run(step: Step, project: str, environment: Mapping[str, str]) -> None:
    command, *rest = step.command
    argv = [command, "--project-id", project, *rest]
    _say(step.comment)
    print(f"$ lfgpods {shlex.join(argv)}", flush=True)
    code = _lfgpods(argv, environment)
    if code:
        print(f"(exit code {code})")
    print(flush=True)
    if code != step.exit_code:
        raise typer.Exit(code or 1)


def _lfgpods(argv: list[str], environment: Mapping[str, str]) -> int:
    """Run one command line as a user would, in a process of its own, and return its exit code."""
    return subprocess.run([sys.executable, "-P", "-m", "lfgpods", *argv], env=environment).returncode


def _say(text: str) -> None:
    print(f"# {text}", flush=True)
