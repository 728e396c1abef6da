"""The application: its commands, and the one place that turns an error into words and an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, TextIO

import typer

from lfgpods import __version__
from lfgpods.cli.commands import database, demo, exec, history, housekeeping, keeper, lifecycle, listing
from lfgpods.cli.options import Verbose, log_file, logged
from lfgpods.core.errors import LfgpodsError, PodNotFoundError, UsageError

EXEC_FAILURE = 125
"""The exit code of every failure of `exec` itself, as it passes on every other one."""
INTERRUPTED = 130
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

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
    """All of the command line; only COMMAND where there is such a one, as typer takes its time for each of them."""
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
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """A Kubernetes pod for each project and each conversation, with data that outlives it."""
    context.obj = verbose


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; everything that goes wrong ends here."""
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]

    def run() -> object:
        code = application(words[0])(words, standalone_mode=False, prog_name="lfgpods")
        sys.stdout.flush()
        return code

    try:
        return outcome(run, words, sys.stderr)
    except BrokenPipeError:
        # Whoever read our output has left; keep the interpreter from saying so a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXEC_FAILURE if _is_exec(words) else 1


def outcome(run: Callable[[], object], words: Sequence[str], stderr: TextIO) -> int:
    """The exit code of the command line WORDS, which RUN runs; what goes wrong is told to STDERR.

    Raises nothing but BrokenPipeError.
    """
    try:
        code = run()
        return code if isinstance(code, int) else 0
    except LfgpodsError as error:
        if not isinstance(error, PodNotFoundError) and error.exit_code != UsageError.exit_code:
            _write_traceback(error, f"{error.code}: {error.message}")
        return _report(error, words, stderr)
    except typer.TyperException as error:
        message = " ".join(error.format_message().split()).rstrip(".")
        context = getattr(error, "ctx", None)
        command = context.command_path if context else f"lfgpods {_verb(words)}".rstrip()
        return _report(UsageError(message[:1].lower() + message[1:], f"See {command} --help."), words, stderr)
    except (typer.Abort, KeyboardInterrupt):
        print("Interrupted.", file=stderr)
        return INTERRUPTED
    except BrokenPipeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            return _report(_unwritten(error, words), words, stderr)
        from lfgpods.core.text import one_line

        message = one_line(f"internal error: {type(error).__name__}: {error}")
        where = _write_traceback(error, message)
        return _report(LfgpodsError(message, f"Please report it; {where}."), words, stderr)


def _unwritten(error: OSError, words: Sequence[str]) -> LfgpodsError:
    """The error for output that finds no room; what else is written on this machine, the database, has its own."""
    happened = "What was done before stays done: lfgpods history tells."
    if _is_exec(words):
        happened = "The command was ended, unless it had ended before; check what it did before you run it again."
    return LfgpodsError(f"the output cannot be written: {error.strerror}", f"Make room where it goes. {happened}")


def _write_traceback(error: Exception, what: str) -> str:
    from lfgpods.cli.logs import write_traceback

    return write_traceback(error, what, log_file())


def _report(error: LfgpodsError, words: Sequence[str], stderr: TextIO) -> int:
    from lfgpods.cli.output import Format, show_error

    with suppress(OSError):  # the exit code tells it too
        print(show_error(error, Format.JSON if _wants_json(words) else Format.TABLE), file=stderr, flush=True)
    return EXEC_FAILURE if _is_exec(words) else error.exit_code


def _verb(words: Sequence[str]) -> str:
    return next((word for word in words if not word.startswith("-")), "")


def _is_exec(words: Sequence[str]) -> bool:
    return _verb(words) == "exec"


def _wants_json(words: Sequence[str]) -> bool:
    """Whether the command line asks for JSON, also where it could not be understood."""
    ours = words[: words.index("--")] if "--" in words else words
    if _is_exec(words):
        return False
    return re.search(r" (-v*o ?|--output[= ])json ", f" {' '.join(ours)} ") is not None
