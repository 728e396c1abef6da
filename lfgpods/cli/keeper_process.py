"""The process of a keeper; `keeper.launcher` starts it. Teaches the keeper to parse the command lines of `exec`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

import typer

from lfgpods.cli.app import application
from lfgpods.cli.execution import Execution
from lfgpods.cli.keeper.server import run_keeper
from lfgpods.core.errors import LfgpodsError


def parse(words: Sequence[str]) -> Execution | None:
    """Parse the command line WORDS, which begins with `exec`.

    Returns None for one that is wrong, or that asks for --help or --verbose: it has to run in the caller's process.
    """
    try:
        options = _exec_command().make_context("exec", list(words[1:])).params
        return None if options.pop("verbose") else Execution.parsed(**options)
    except (LfgpodsError, typer.TyperException, typer.Exit):
        return None


@functools.cache
def _exec_command() -> Any:
    return typer.main.get_command(application("exec")).commands["exec"]  # type: ignore[attr-defined]


if __name__ == "__main__":
    run_keeper(int(sys.argv[1]), parse)
