"""A command for a pod, its input and output, and its result. Pure."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lfgpods.core.errors import UsageError

Sink = Callable[[bytes], object]


class Source(Protocol):
    """Where a command's stdin comes from, such as an unbuffered binary file.

    `read` returns what is there, up to SIZE bytes, b"" at the end, and None if there is nothing for now.
    """

    def read(self, size: int, /) -> bytes | None: ...


@dataclass(frozen=True)
class ExecResult:
    """The exit code of a command and its output. True if the exit code is 0."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    def __bool__(self) -> bool:
        return self.exit_code == 0


@dataclass(frozen=True)
class Command:
    """A line for the pod's shell, or a program with its arguments; not both. WORKDIR defaults to /workspace."""

    line: str | None = None
    argv: tuple[str, ...] = ()
    workdir: str | None = None

    def check(self) -> None:
        """Raise UsageError if the command is empty, ambiguous, or not something that a process can get."""
        if (self.line is None) == (not self.argv):
            given = "two commands were" if self.argv else "no command was"
            raise UsageError(f"{given} given", "Give one shell line with -c, or one program after --.")
        if any("\0" in word for word in (self.line or "", *self.argv, self.workdir or "")):
            raise UsageError("the command holds a NUL byte", "Pass binary data over stdin.")
        try:
            "".join((self.line or "", *self.argv, self.workdir or "")).encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            raise UsageError("the command holds half a character (a lone surrogate)", "Pass it as UTF-8.") from None


@dataclass(frozen=True)
class Invocation:
    """One run of COMMAND: where its input comes from, where its output goes, and what may end it early."""

    command: Command
    on_stdout: Sink
    on_stderr: Sink
    stdin: Source | None = None
    timeout: float | None = None
    """Seconds."""
    cancelled: threading.Event | None = None
    """Kills the command once another thread sets it."""
