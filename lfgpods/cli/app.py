"""The application: its commands, and the one place that turns an error into words and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from lfgpods import __version__
from lfgpods.cli import demo, execution, lifecycle, listing
from lfgpods.errors import LfgpodsError, UsageError

EXEC_FAILURE = 125
"""The exit code of every failure of `exec` itself, as it passes on every other one."""
INTERRUPTED = 130

app = typer.Typer(
    name="lfgpods",
    help="A Kubernetes pod for each project and each conversation, with data that outlives it.",
    epilog="Settings come from .env and the environment; .env.example and the README list them.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("create")(lifecycle.create)
app.command("exec", context_settings={"allow_interspersed_args": False})(execution.exec_command)
app.command("status")(listing.status)
app.command("list")(listing.list_pods)
app.command("delete")(lifecycle.delete)
app.command("demo")(demo.demo)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lfgpods {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """A Kubernetes pod for each project and each conversation, with data that outlives it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; everything that goes wrong ends here."""
    words = list(sys.argv[1:] if argv is None else argv) or ["--help"]
    try:
        code = app(words, standalone_mode=False, prog_name="lfgpods")
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except LfgpodsError as error:
        return _report(error, words)
    except typer.TyperException as error:
        message = " ".join(error.format_message().split())
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "lfgpods"
        return _report(UsageError(message[:1].lower() + message[1:], f"See {command} --help."), words)
    except (typer.Abort, KeyboardInterrupt):
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has left; keep the interpreter from saying so a second time.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXEC_FAILURE if _is_exec(words) else 1
    except Exception as error:
        if os.environ.get("LFGPODS_DEBUG"):
            raise
        message = f"internal error: {type(error).__name__}: {' '.join(str(error).split())}"
        return _report(LfgpodsError(message, "Please report it; LFGPODS_DEBUG=1 shows where it happened."), words)


def _report(error: LfgpodsError, words: Sequence[str]) -> int:
    from lfgpods.output import Format, show_error

    print(show_error(error, Format.JSON if _wants_json(words) else Format.TABLE), file=sys.stderr)
    return EXEC_FAILURE if _is_exec(words) else error.exit_code


def _is_exec(words: Sequence[str]) -> bool:
    return next((word for word in words if not word.startswith("-")), "") == "exec"


def _wants_json(words: Sequence[str]) -> bool:
    """Whether the command line asks for JSON, also where it could not be understood."""
    ours = words[: words.index("--")] if "--" in words else words
    if _is_exec(words):
        return False
    joined = f" {' '.join(ours)} "
    return any(f" {option} " in joined for option in ("-ojson", "-o json", "--output=json", "--output json"))
