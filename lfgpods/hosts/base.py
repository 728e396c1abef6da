"""The interface of a host: it runs commands and streams their output. It knows nothing about Kubernetes.

Commands are argument vectors; the host quotes them for its shell. Every wait has a time limit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Completed:
    """The result of a finished command."""

    exit_code: int
    stdout: bytes
    stderr: bytes


@dataclass(frozen=True)
class Output:
    """Output since the last read. `ended` is true once no more will follow."""

    stdout: bytes = b""
    stderr: bytes = b""
    ended: bool = False


class Process(Protocol):
    """A running command: bytes in, bytes out, stdout and stderr separate and unbuffered."""

    @property
    def exit_code(self) -> int | None:
        """The exit code, once reading has ended. None if there is none, for example after a lost connection."""

    def read(self, timeout: float) -> Output:
        """Return the next output, or an empty Output after TIMEOUT seconds."""

    def write(self, data: bytes) -> None:
        """Send bytes to stdin. Raises BrokenPipeError if the process accepts no more."""

    def close_stdin(self) -> None:
        """Close stdin."""

    def close(self) -> None:
        """Release the process. If it was opened with `ends_with_us`, it is terminated."""


class Host(Protocol):
    """Where kubectl runs. Methods raise HostError if the host cannot be reached."""

    @property
    def name(self) -> str:
        """The host's name in messages and in the store."""

    @property
    def address(self) -> str:
        """The address of its node ports."""

    @property
    def capacity(self) -> int | None:
        """How many processes can be open at once, or None if only the machine limits them."""

    def when_full(self, make_room: Callable[[], object]) -> None:
        """Call MAKE_ROOM, in its own thread, whenever a command waits because `capacity` is reached."""

    def open(self, argv: Sequence[str], *, ends_with_us: bool = False) -> Process:
        """Start a command. With ENDS_WITH_US it has no stdin, and ends when the process is closed or lost."""

    def close(self) -> None:
        """Close all connections. A later command opens a new one."""
