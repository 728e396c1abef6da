"""demo: the main job, told step by step with the commands that do it."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
import tempfile
from collections.abc import Callable
from typing import Annotated, NamedTuple

import typer

from lfgpods.cli.options import HostName


class Step(NamedTuple):
    """What is told, what is run, and how that has to end."""

    comment: str
    command: tuple[str, ...]
    exit_code: int = 0


STEPS = (
    Step("A project gets a pod of its own.", ("create",)),
    Step(
        "A command runs in it, and writes a file to the volume at /workspace.", ("exec", "-c", "date > born; cat born")
    ),
    Step("Streams and exit codes are the command's own.", ("exec", "-c", "echo to stderr >&2; exit 3"), 3),
    Step("The pod is taken away; the data stays.", ("delete",)),
    Step("A new pod comes back on the same volume ...", ("create", "-o", "name")),
    Step("... and the file is there.", ("exec", "-c", "cat born")),
    Step("Purge takes everything, the data too.", ("delete", "--purge", "--yes")),
)


def demo(host: Annotated[HostName, typer.Option(help="Where to run it.")] = HostName.EMBEDDED) -> None:
    """Show the main job: a pod, a command, a delete, and the file that outlives it.

    Runs on the embedded host, which needs no Kubernetes, and leaves nothing behind.
    """
    from lfgpods.cli.app import main

    with tempfile.TemporaryDirectory(prefix="lfgpods-demo-") as folder:
        os.environ["LFGPODS_HOST"] = host.value
        os.environ["LFGPODS_DATABASE"] = os.path.join(folder, "lfgpods.db")
        os.environ["LFGPODS_LOG_FILE"] = os.path.join(folder, "lfgpods.log")
        os.environ["LFGPODS_EMBEDDED_FOLDER"] = os.path.join(folder, "embedded")
        os.environ["LFGPODS_KEEP"] = ""
        if host is HostName.EMBEDDED:
            os.environ["LFGPODS_VOLUME_ROOT"] = os.path.join(folder, "volumes")
        project = f"demo-{secrets.token_hex(2)}"
        done = False
        try:
            for step in STEPS:
                _run(main, step, project)
            done = True
        finally:
            if not done:
                main(["delete", "--project-id", project, "--purge", "--yes"])
    _say("That was all of it. Nothing is left behind.")
    if host is HostName.EMBEDDED:
        _say("Try it yourself: export LFGPODS_HOST=embedded, and type the commands above.")


def _run(main: Callable[[list[str]], int], step: Step, project: str) -> None:
    command, *rest = step.command
    argv = [command, "--project-id", project, *rest]
    _say(step.comment)
    print(f"$ lfgpods {shlex.join(argv)}", flush=True)
    code = main(argv)
    sys.stderr.flush()
    if code:
        print(f"(exit code {code})")
    print(flush=True)
    if code != step.exit_code:
        raise typer.Exit(code or 1)


def _say(text: str) -> None:
    print(f"# {text}", flush=True)
