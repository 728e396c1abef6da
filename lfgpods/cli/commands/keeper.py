"""keeper: the processes that LFGPODS_KEEP lets stay for the next exec; they are started, shown and stopped here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

import typer

from lfgpods.cli.keeper import client

keeper = typer.Typer(
    name="keeper",
    help="Show or stop the processes that LFGPODS_KEEP lets stay for the next exec.",
)


class Keeper(NamedTuple):
    """One that runs."""

    host: str
    pid: int


def start() -> None:
    """Start the keeper of this process's settings, unless there is one. Says nothing of one that cannot be started."""
    import fcntl
    import subprocess
    from contextlib import suppress

    path = client.socket_path(client.identity(os.environ))
    with suppress(OSError):
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        if not client.is_private(os.path.dirname(path)):
            return
        lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # it goes on to the keeper, and ends with it
            nothing = subprocess.DEVNULL
            argv = [sys.executable, "-P", "-m", "lfgpods.cli.keeper.server", str(lock)]
            subprocess.Popen(
                argv, stdin=nothing, stdout=nothing, stderr=nothing, pass_fds=[lock], start_new_session=True
            )
        finally:
            os.close(lock)


def running() -> Iterator[Keeper]:
    """The keepers of this user."""
    from pathlib import Path

    for lock in sorted(Path(client.socket_folder()).glob("*.lock")):
        connection = client.connected(str(lock.with_suffix("")))
        if connection is not None:
            connection.close()
            pid, _, host = lock.read_text(errors="replace").partition(" ")
            yield Keeper(host, int(pid))


@keeper.command("status")
def status() -> None:
    """Show each keeper that runs: its process and its host."""
    from lfgpods.core.text import printable

    for one in running():
        typer.echo(f"{one.pid}  {printable(one.host)}")


@keeper.command("stop")
def stop() -> None:
    """End every keeper, each once its last command has ended."""
    import signal
    from contextlib import suppress

    from lfgpods.core.text import printable

    for one in running():
        with suppress(ProcessLookupError):
            os.kill(one.pid, signal.SIGTERM)
        typer.echo(f"The keeper of {printable(one.host)} ends (process {one.pid}).")
