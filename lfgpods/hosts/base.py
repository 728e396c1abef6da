"""A host: it runs a command, streams it, and knows nothing of Kubernetes.

Commands are argument vectors; the host does whatever quoting its shell needs. Every wait has a time limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Completed:
    """A command that has ended."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Output:
    """What a process wrote since the last read; `ended` once there is nothing more to come."""

    stdout: bytes = b""
    stderr: bytes = b""
    ended: bool = False


class Process(Protocol):
    """A running command: bytes in, bytes out, both streams apart and as they come."""

    @property
    def exit_code(self) -> int | None:
        """The exit code, once reading has ended; None when none came, as when the connection was lost."""

    def read(self, timeout: float) -> Output:
        """Wait up to TIMEOUT seconds for output, which is empty when none came."""

    def write(self, data: bytes) -> None:
        """Send bytes to stdin. Raises BrokenPipeError when the process takes no more."""

    def close_stdin(self) -> None:
        """Send the end of stdin."""

    def close(self) -> None:
        """Let go of the process; one that was opened with `ends_with_us` ends."""


class Host(Protocol):
    """Where kubectl runs. Methods raise HostError when it cannot be reached."""

    @property
    def name(self) -> str:
        """How messages and the store call this host."""

    @property
    def address(self) -> str:
        """The address at which its node ports answer."""

    @property
    def capacity(self) -> int | None:
        """How many processes can be open at once; None where only the machine limits them."""

    def when_full(self, make_room: Callable[[], object]) -> None:
        """Have MAKE_ROOM called, from a thread of its own, when a command waits because no more can be open."""

    def open(self, argv: Sequence[str], *, ends_with_us: bool = False) -> Process:
        """Start a command. With ENDS_WITH_US it reads no stdin, and ends when this end closes or is lost."""

    def close(self) -> None:
        """Give the connection back; a later command opens a new one."""
