"""Processes of this machine that are known by number and start time, so that a number used again is never theirs."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Identity:
    """One process for certain: its number, its start in the kernel's clock ticks, and the boot it belongs to."""

    pid: int
    started: int
    boot: str

    @property
    def alive(self) -> bool:
        return self.boot == boot() and started(self.pid) == self.started

    def signal(self, number: int) -> None:
        """Send a signal, if the process is still there."""
        with contextlib.suppress(OSError):
            if not hasattr(os, "pidfd_open"):
                if self.alive:
                    os.kill(self.pid, number)
                return
            handle = os.pidfd_open(self.pid)
            try:
                if self.alive:
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)


def identify(pid: int) -> Identity | None:
    """The process that has the number PID now."""
    start = started(pid)
    return Identity(pid, start, boot()) if start is not None else None


def boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def started(pid: int) -> int | None:
    """When the process started, or None where there is none or nothing but its exit code is left."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        if Path("/proc/self").exists():
            return None
        return _started_without_proc(pid)
    except (OSError, ValueError):
        return None
    return int(fields[19]) if fields[0] not in ("Z", "X") else None


def _started_without_proc(pid: int) -> int | None:
    try:
        os.kill(pid, 0)
    except OSError:
        return None
    return 0


def with_environment(entry: str, visit: Callable[[Identity], object]) -> None:
    """VISIT every process that was started with ENTRY (`NAME=value`) in its environment."""
    wanted = entry.encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found = identify(int(folder.name))
                if found is not None:
                    visit(found)
