"""A host: it runs a command, streams it, and knows nothing of Kubernetes.

Commands are argument vectors; the host does whatever quoting its shell needs. Every wait has a time limit.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    pass


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

    def open(
        self,
        argv: Sequence[str],
        *,
        after: Sequence[Sequence[str]] = (),
        beside: Sequence[Sequence[str]] = (),
        ends_with_us: bool = False,
    ) -> Process:
        """Start a command. With ENDS_WITH_US it reads no stdin, and ends when this end closes or is lost.

        The commands in AFTER run first, each only if the one before it ended with 0, on the same streams; the first
        other exit code ends them all. So several steps cost one round trip.

        The commands BESIDE run one after the other while all those do, without stdin. What they write to stdout
        comes once the others have ended with 0; how they end, and why, is not told.
        """

    def close(self) -> None:
        """Give the connection back; a later command opens a new one."""


def in_sequence(commands: Sequence[Sequence[str]], *, beside: Sequence[Sequence[str]] = ()) -> tuple[str, ...]:
    """One argument vector that does in a shell what `Host.open` says; COMMANDS are those it comes after, and it."""
    if len(commands) == 1 and not beside:
        return tuple(commands[0])
    *first, last = map(shlex.join, commands)
    if not beside:
        return ("sh", "-c", " && ".join([*first, f"exec {last}"]))
    aside, main = "; ".join(map(shlex.join, beside)), " && ".join([*first, last, "cat <&3"])
    return ("sh", "-c", f"exec 4<&0; {{ {aside}; }} </dev/null 2>/dev/null 4<&- | {{ {main}; }} 3<&0 <&4 4<&-")
