"""exec: run a command in a pod, with its streams and its exit code."""

from __future__ import annotations

import io
import sys
from typing import Annotated

import typer

from lfgpods.cli.execution import Execution
from lfgpods.cli.options import ConversationId, ProjectId, above_zero


def exec_command(
    argv: Annotated[list[str] | None, typer.Argument(metavar="[-- PROGRAM [ARGUMENT]...]", show_default=False)] = None,
    project_id: ProjectId = None,
    conversation_id: ConversationId = None,
    line: Annotated[
        str | None, typer.Option("--command", "-c", metavar="LINE", help="A command line for the pod's shell (sh).")
    ] = None,
    stdin: Annotated[bool, typer.Option("--stdin", "-i", help="Pass stdin to the command.")] = False,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", callback=above_zero, help="End the command after this time. [default: never]"),
    ] = None,
    workdir: Annotated[
        str | None, typer.Option(metavar="DIR", help="Folder to run it in. [default: /workspace]")
    ] = None,
) -> None:
    """Run a command in a pod: a shell command line with -c, or a program after --.

    Passes stdout and stderr on as they come, byte for byte. Exits with the command's exit code, or with 125 if
    lfgpods itself fails: no such pod, time limit, lost connection.

    \b
      lfgpods exec --project-id my-app -c 'cd repo && python3 app.py'
      tar c . | lfgpods exec --project-id my-app -i -- tar x -C /workspace
    """
    from lfgpods.api.manager import PodManager
    from lfgpods.core.settings import load_settings

    execution = Execution.parsed(
        argv=argv,
        project_id=project_id,
        conversation_id=conversation_id,
        line=line,
        stdin=stdin,
        timeout=timeout,
        workdir=workdir,
    )
    settings = load_settings()
    if settings.keep:
        from lfgpods.cli.keeper.launcher import start

        start()
    with PodManager(settings) as manager:
        code = execution.run(manager, io.FileIO(0, closefd=False), sys.stdout.buffer, sys.stderr.buffer)
    raise typer.Exit(code)
