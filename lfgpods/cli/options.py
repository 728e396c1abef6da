"""Options that several commands share, and what they all do with the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated

import typer

ProjectId = Annotated[str | None, typer.Option("--project-id", metavar="ID", help="The project that owns the pod.")]
ConversationId = Annotated[
    str | None,
    typer.Option(
        "--conversation-id", metavar="ID", help="The conversation that owns the pod, where no project is given."
    ),
]


class OutputFormat(StrEnum):
    """The same names as lfgpods.output.Format, here so that help and completion load nothing else."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    NAME = "name"


class HostName(StrEnum):
    """The same names as lfgpods.settings.HostKind, for the same reason."""

    SSH = "ssh"
    LOCAL = "local"
    EMBEDDED = "embedded"


Output = Annotated[
    OutputFormat, typer.Option("--output", "-o", metavar="table|json|yaml|name", help="How to print the result.")
]


def above_zero(value: float | None) -> float | None:
    if value is not None and not 0 < value < float("inf"):
        raise typer.BadParameter("it has to be a number of seconds above 0")
    return value


@contextmanager
def progress() -> Iterator[Callable[[str], None]]:
    """Shows a person at a terminal each step and the seconds so far; says nothing to a program."""
    if not sys.stderr.isatty():
        yield lambda step: None
        return
    from rich.console import Console

    start = time.monotonic()
    with Console(stderr=True).status("connecting") as status:
        yield lambda step: status.update(f"{step} ({time.monotonic() - start:.0f} s)")


def warn(text: str) -> None:
    from lfgpods.output import printable

    print(f"Warning: {printable(text)}", file=sys.stderr)
