"""Finds and signals the processes of containers; a process that reuses a pid never gets the signal."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lfgpods.core.processes import ProcessIdentity, identify


def send_signal(process: ProcessIdentity, number: int) -> None:
    """Send the signal NUMBER to PROCESS if it still runs."""
    with suppress(OSError):
        if not hasattr(os, "pidfd_open"):
            if process.is_alive:
                os.kill(process.pid, number)
            return
        handle = os.pidfd_open(process.pid)
        try:
            if process.is_alive:
                signal.pidfd_send_signal(handle, number)
        finally:
            os.close(handle)


def processes_with(variable: str) -> Iterator[ProcessIdentity]:
    """The processes that were started with VARIABLE (`NAME=value`) in their environment."""
    wanted = variable.encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0") and (found := identify(int(folder.name))):
                yield found
