"""Processes that are known for certain, to other processes too: by number, start, boot and pid namespace.

A number that is used again, the same number in another container and one on another machine are never taken for
the process that was meant. Reads /proc and nothing else; raises nothing.
"""

from __future__ import annotations

import os
import pwd
import re
import sys
from pathlib import Path

_PROC = Path("/proc")
_IDENTITY = re.compile(r"([0-9a-f-]+:[0-9]+):([0-9]+):([0-9]+)", re.ASCII)
_UNIQUE = os.urandom(8).hex()


def this_process() -> str:
    """The text form of this process, `boot:namespace:pid:ticks`; it is no other's, on whatever machine.

    Where the system does not tell, it is a text of which `is_alive` knows nothing, except in this process.
    """
    pid, place = os.getpid(), _place()
    try:
        ticks = _ticks(pid) if place else None
    except _HiddenError:
        ticks = None
    return f"unknown:{pid}:{_UNIQUE}" if ticks is None else f"{place}:{pid}:{ticks}"


def is_alive(process: str) -> bool | None:
    """Whether the process of this text form still runs; None where that cannot be known here.

    It cannot on another machine, in another container, and after a new boot: two machines may look alike.
    """
    if process == this_process():
        return True
    known = _IDENTITY.fullmatch(process)
    if not known or known[1] != _place():
        return None
    try:
        return _ticks(int(known[2])) == int(known[3])
    except _HiddenError:
        return None


def user() -> str:
    """The login name of this process's user, or the number of one that has no name."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def program() -> str:
    """What this process is called: `cli` for the command line of lfgpods, else the program's name."""
    path = Path((getattr(sys, "argv", None) or [""])[0])
    if path.name == "lfgpods" or path.parts[-2:] == ("lfgpods", "__main__.py"):
        return "cli"
    return path.name if path.name not in ("", "-c", "-m") else Path(sys.executable or "python").name


class _HiddenError(Exception):
    """There may be such a process, and we are not allowed to look at it."""


def _place() -> str:
    """Where our numbers count, as `boot:namespace`; nothing where /proc is missing, or shows another namespace."""
    try:
        if os.readlink(_PROC / "self") != str(os.getpid()):
            return ""
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{re.sub(r'[^0-9]', '', os.readlink(_PROC / 'self/ns/pid'))}"
    except OSError:
        return ""


def _ticks(pid: int) -> int | None:
    """When the process started; None where there is none, or nothing but its exit code is left.

    Raises _HiddenError for one that only shows that it exists, as under hidepid.
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
