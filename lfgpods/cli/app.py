"""The application: all commands, and `main`, which runs one command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated

import typer

from lfgpods.cli.commands import database, demo, exec, history, housekeeping, keeper, lifecycle, listing
from lfgpods.cli.options import Verbose, logged
from lfgpods.cli.outcome import failure_code, outcome
from lfgpods.core.version import __version__

_COMMANDS: dict[str, Callable[..., None]] = {
    "create": lifecycle.create,
    "exec": exec.exec_command,
    "status": listing.status,
    "list": listing.list_pods,
    "delete": lifecycle.delete,
    "history": history.history,
    "sync": housekeeping.sync,
    "gc": housekeeping.gc,
    "demo": demo.demo,
}


def application(command: str = "") -> typer.Typer:
    """The whole command line, or only COMMAND if there is one of that name: Typer takes its time for each command."""
    app = typer.Typer(
        name="lfgpods",
        help="A Kubernetes pod for each project and each conversation, with data that outlives it.",
        epilog="Settings come from .env and the environment; .env.example and docs/settings.md list them.",
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    for name in [command] if command in _COMMANDS else _COMMANDS:
        app.command(name, context_settings={"allow_interspersed_args": name != "exec"})(logged(_COMMANDS[name]))
    if command not in _COMMANDS:
        app.add_typer(keeper.keeper)
        app.add_typer(database.db)
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lfgpods {__version__}")
        raise typer.Exit


def _options(
    context: typer.Context,
    verbose: Verbose = 0,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A Kubernetes pod for each project and each conversation, with data that outlives it."""
    context.obj = verbose


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Never raises."""
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]

    def run() -> object:
        code = application(words[0])(words, standalone_mode=False, prog_name="lfgpods")
        sys.stdout.flush()
        return code

    try:
        return outcome(run, words, sys.stderr)
    except BrokenPipeError:
        # The reader of our output is gone; keep the interpreter from reporting that again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return failure_code(words)
