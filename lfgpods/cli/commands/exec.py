"""exec: a command in a pod, with its streams and its exit code."""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from lfgpods.cli.options import ConversationId, ProjectId, above_zero

if TYPE_CHECKING:
    from threading import Event

    from lfgpods.api.manager import PodManager
    from lfgpods.core.owners import Owner
    from lfgpods.exec.command import Command, Source


@dataclass(frozen=True)
class Execution:
    """What a command line of `exec` asks for."""

    owner: Owner
    command: Command
    passes_stdin: bool
    timeout: float | None

    @classmethod
    def parsed(
        cls,
        *,
        argv: list[str] | None,
        project_id: str | None,
        conversation_id: str | None,
        line: str | None,
        stdin: bool,
        timeout: float | None,
        workdir: str | None,
    ) -> Execution:
        """Raises UsageError."""
        from lfgpods.core.owners import resolve_owner
        from lfgpods.exec.command import Command

        command = Command(line, tuple(argv or ()), workdir)
        command.check()
        return cls(resolve_owner(project_id, conversation_id), command, stdin, timeout)

    def run(
        self,
        manager: PodManager,
        stdin: Source,
        stdout: BinaryIO,
        stderr: BinaryIO,
        cancelled: Event | None = None,
    ) -> int:
        """The exit code of the command, whose output goes to the streams as it comes. Raises as PodManager.exec."""

        def pass_on(stream: BinaryIO, data: bytes) -> None:
            stream.write(data)
            stream.flush()

        result = manager.exec(
            self.owner,
            self.command,
            stdin=stdin if self.passes_stdin else None,
            timeout=self.timeout,
            on_stdout=lambda data: pass_on(stdout, data),
            on_stderr=lambda data: pass_on(stderr, data),
            cancelled=cancelled,
        )
        return result.exit_code


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
        from lfgpods.cli.commands.keeper import start

        start()
    with PodManager(settings) as manager:
        code = execution.run(manager, io.FileIO(0, closefd=False), sys.stdout.buffer, sys.stderr.buffer)
    raise typer.Exit(code)
