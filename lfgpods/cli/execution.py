"""exec: a command in a pod, with its streams and its exit code."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from lfgpods.cli.options import ConversationId, ProjectId, above_zero


def exec_command(
    argv: Annotated[list[str] | None, typer.Argument(metavar="[-- PROGRAM [ARGUMENT]...]", show_default=False)] = None,
    project_id: ProjectId = None,
    conversation_id: ConversationId = None,
    line: Annotated[
        str | None, typer.Option("--command", "-c", metavar="LINE", help="A line for the pod's shell (sh).")
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", "-i", help="Pass stdin on to the command.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", callback=above_zero, help="End the command after this time. [default: never]"),
    ] = None,
    workdir: Annotated[str | None, typer.Option(metavar="DIR", help="Where to run it. [default: /workspace]")] = None,
) -> None:
    """Run a command in a pod: a shell line with -c, or a program after --.

    Output comes as it is written, both streams apart, byte for byte. Ends with the command's exit code, or with
    125 when lfgpods itself fails: no such pod, time limit, lost connection.

    \b
      lfgpods exec --project-id my-app -c 'cd repo && python3 app.py'
      tar c . | lfgpods exec --project-id my-app -i -- tar x -C /workspace
    """
    from lfgpods.manager import PodManager
    from lfgpods.naming import resolve_owner
    from lfgpods.podexec import Command

    owner = resolve_owner(project_id, conversation_id)
    command = Command(line, tuple(argv or ()), workdir)
    command.check()

    def pass_on(stdout: bytes) -> None:
        sys.stdout.buffer.write(stdout)
        sys.stdout.buffer.flush()

    def pass_on_error(stderr: bytes) -> None:
        sys.stderr.buffer.write(stderr)
        sys.stderr.buffer.flush()

    with PodManager() as manager:
        result = manager.exec(
            owner,
            command,
            stdin=io.FileIO(0, closefd=False) if stdin else None,
            timeout=timeout,
            on_stdout=pass_on,
            on_stderr=pass_on_error,
        )
    raise typer.Exit(result.exit_code)
