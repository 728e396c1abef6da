"""A command for a pod: what is to be run, with what input and where to its output, and how it ended."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from lfgpods.core.errors import UsageError

Sink = Callable[[bytes], object]


class Source(Protocol):
    """What a command's stdin is read from: `read` returns what is there, up to SIZE bytes, and b"" at the end.

    An unbuffered binary file is one.
    """

    def read(self, size: int, /) -> bytes | None: ...


@dataclass(frozen=True)
class ExecResult:
    """How a command ended, with all that it wrote."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    def __bool__(self) -> bool:
        return self.exit_code == 0


@dataclass(frozen=True)
class Command:
    """A line for the pod's shell, or a program with its arguments; either, not both."""

    line: str | None = None
    argv: tuple[str, ...] = ()
    workdir: str | None = None

    def check(self) -> None:
        """Raise UsageError for what no process can be given."""
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
    """COMMAND run once: where its input comes from and its output goes, and what ends it before its own end."""

    command: Command
    on_stdout: Sink
    on_stderr: Sink
    stdin: Source | None = None
    timeout: float | None = None
    """Seconds."""
    cancelled: threading.Event | None = None
    """Ends the command once another thread has set it."""
