"""keeper: show and stop the processes that LFGPODS_KEEP keeps for the next exec."""

from __future__ import annotations

import os

import typer

from lfgpods.cli.keeper.launcher import running

keeper = typer.Typer(
    name="keeper",
    help="Show or stop the processes that LFGPODS_KEEP keeps for the next exec.",
)


@keeper.command("status")
def status() -> None:
    """Show the process and the host of each running keeper."""
    from lfgpods.core.text import printable

    for found in running():
        typer.echo(f"{found.pid}  {printable(found.host)}")


@keeper.command("stop")
def stop() -> None:
    """Stop every keeper; each finishes the commands it runs first."""
    import signal
    from contextlib import suppress

    from lfgpods.core.text import printable

    for found in running():
        with suppress(ProcessLookupError):
            os.kill(found.pid, signal.SIGTERM)
        typer.echo(f"Stopping the keeper of {printable(found.host)} (process {found.pid}).")
