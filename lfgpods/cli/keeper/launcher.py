"""Starts keepers and finds those that run."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

from lfgpods.cli.keeper.identity import connect, identity, is_private, socket_folder, socket_path

PROGRAM = "lfgpods.cli.keeper_process"


class RunningKeeper(NamedTuple):
    host: str
    pid: int


def start() -> None:
    """Start a keeper for the settings of this process unless one runs. If that fails, there is just no keeper."""
    import fcntl
    import subprocess
    from contextlib import suppress

    with suppress(OSError):
        path = socket_path(identity(os.environ))
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        if not is_private(os.path.dirname(path)):
            return
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the keeper inherits the lock and holds it until it ends
            nothing = subprocess.DEVNULL
            argv = [sys.executable, "-P", "-m", PROGRAM, str(lock)]
            subprocess.Popen(
                argv, stdin=nothing, stdout=nothing, stderr=nothing, pass_fds=[lock], start_new_session=True
            )
        finally:
            os.close(lock)


def running() -> Iterator[RunningKeeper]:
    """The keepers of this user."""
    from pathlib import Path

    for lock in sorted(Path(socket_folder()).glob("*.lock")):
        connection = connect(str(lock.with_suffix("")))
        if connection is not None:
            connection.close()
            pid, _, host = lock.read_text(errors="replace").partition(" ")
            yield RunningKeeper(host, int(pid))
