"""Options that several commands share, and the progress, warnings and notes on stderr."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from lfgpods.cli.format import Format

ProjectId = Annotated[str | None, typer.Option("--project-id", metavar="ID", help="The project that owns the pod.")]
ConversationId = Annotated[
    str | None,
    typer.Option("--conversation-id", metavar="ID", help="The conversation that owns the pod, if no project is given."),
]


Output = Annotated[
    Format, typer.Option("--output", "-o", metavar="table|json|yaml|name", help="How to print the result.")
]

Verbose = Annotated[
    int,
    typer.Option("--verbose", "-v", count=True, metavar="", show_default=False, help="Show each step; -vv shows more."),
]


def log_file() -> Path:
    """The log file of the settings, or the default one if they are wrong: the command itself reports that."""
    from lfgpods.core.errors import SettingsError
    from lfgpods.core.settings import load_settings

    try:
        return load_settings().log_file
    except SettingsError:
        return load_settings({}, Path(os.devnull)).log_file


def logged(command: Callable[..., None]) -> Callable[..., None]:
    """Give COMMAND the option --verbose, and its log to the log file and stderr while it runs."""

    @functools.wraps(command)
    def run(context: typer.Context, verbose: int, **arguments: object) -> None:
        from lfgpods.cli.logs import configured

        with configured((context.obj or 0) + verbose, log_file()):
            command(**arguments)

    signature = inspect.signature(command, eval_str=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    added = (
        inspect.Parameter("context", kind, annotation=typer.Context),
        inspect.Parameter("verbose", kind, default=0, annotation=Verbose),
    )
    run.__signature__ = signature.replace(parameters=(*signature.parameters.values(), *added))  # type: ignore[attr-defined]
    return run


def above_zero(value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter("must be a number of seconds above 0")
    return value


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Show each step and the seconds so far if stderr is a terminal; otherwise nothing."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console

    start = time.monotonic()
    with Console(stderr=True).status("connecting") as status:
        yield lambda step: status.update(f"{step} ({time.monotonic() - start:.0f} s)")


def warn(text: str) -> None:
    from lfgpods.core.text import printable

    print(f"Warning: {printable(text)}", file=sys.stderr)


def note(text: str) -> None:
    from lfgpods.core.text import printable

    print(f"Note: {printable(text)}", file=sys.stderr)
