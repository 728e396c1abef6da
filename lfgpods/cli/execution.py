"""A parsed command line of `exec`, and how it runs: in the caller's process or in a keeper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

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
        """Make one from the options of the command. Raises UsageError."""
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
        """Run the command, pass its output on as it comes, and return its exit code. Raises as PodManager.exec."""

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
