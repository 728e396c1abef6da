"""Identifies a process so that it is never mistaken for another: by pid, start time, boot and pid namespace.

A reused pid, the same pid in another container, and the same pid on another machine are all told apart.
Reads only /proc, and raises nothing.
"""

from __future__ import annotations

import os
import pwd
import re
import sys
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_IDENTITY = re.compile(r"([0-9a-f-]+:[0-9]+):([0-9]+):([0-9]+)", re.ASCII)
_UNIQUE = os.urandom(8).hex()


@dataclass(frozen=True)
class ProcessIdentity:
    """One process; its text form is `boot:namespace:pid:ticks`."""

    place: str
    """Where the pid is valid, as `boot:namespace`."""
    pid: int
    started: int
    """When the process started, in clock ticks since boot."""

    def __str__(self) -> str:
        return f"{self.place}:{self.pid}:{self.started}"

    @property
    def is_alive(self) -> bool | None:
        """Whether the process still runs; a zombie does not. None if this process cannot see it."""
        if self.place != _place():
            return None
        try:
            return _ticks(self.pid) == self.started
        except _HiddenError:
            return None


def identify(pid: int) -> ProcessIdentity | None:
    """The process that has PID in this namespace, or None if there is none or /proc does not show it."""
    try:
        place = _place()
        started = _ticks(pid) if place else None
    except _HiddenError:
        return None
    return None if started is None else ProcessIdentity(place, pid, started)


def this_process() -> str:
    """The text form of this process, unique across machines.

    Without a usable /proc, the text is still unique, but `is_alive` recognizes it only in this process.
    """
    identity = identify(os.getpid())
    return f"unknown:{os.getpid()}:{_UNIQUE}" if identity is None else str(identity)


def is_alive(process: str) -> bool | None:
    """Whether the process with this text form still runs; None if that cannot be known here.

    It cannot be known for another machine, for another container, or after a reboot.
    """
    if process == this_process():
        return True
    known = _IDENTITY.fullmatch(process)
    return ProcessIdentity(known[1], int(known[2]), int(known[3])).is_alive if known else None


def user() -> str:
    """The login name of the current user, or the user id if it has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def program() -> str:
    """The name of this program: `cli` for the lfgpods command line, otherwise the file name of the program."""
    path = Path((getattr(sys, "argv", None) or [""])[0])
    if path.name == "lfgpods" or path.parts[-2:] == ("lfgpods", "__main__.py"):
        return "cli"
    return path.name if path.name not in ("", "-c", "-m") else Path(sys.executable or "python").name


class _HiddenError(Exception):
    """The process may exist, but /proc does not let us read it."""


def _place() -> str:
    """The boot and pid namespace of this process; empty if /proc is missing or shows another namespace."""
    try:
        if os.readlink(_PROC / "self") != str(os.getpid()):
            return ""
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{re.sub(r'[^0-9]', '', os.readlink(_PROC / 'self/ns/pid'))}"
    except OSError:
        return ""


def _ticks(pid: int) -> int | None:
    """When the process started; None if it does not exist or is a zombie.

    Raises _HiddenError if it exists but cannot be read, as with hidepid.
    """
    try:
        fields = (_PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
        return int(fields[19]) if fields[0] not in ("Z", "X") else None
    except ProcessLookupError:
        return None
    except (OSError, ValueError, IndexError):
        if _exists(pid):
            raise _HiddenError from None
        return None


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True
    return True
