"""How a command line ends: an error becomes words on stderr and an exit code."""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TextIO

import typer

from lfgpods.cli.format import Format
from lfgpods.cli.options import log_file
from lfgpods.core.errors import LfgpodsError, PodNotFoundError, UsageError

EXEC_FAILURE = 125
"""The exit code of every failure of `exec` itself; all other codes are the command's own."""
INTERRUPTED = 130
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def outcome(run: Callable[[], object], words: Sequence[str], stderr: TextIO) -> int:
    """Call RUN and return the exit code of the command line WORDS. Errors are reported on STDERR.

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
            return _report(_output_error(error, words), words, stderr)
        from lfgpods.core.text import one_line

        message = one_line(f"internal error: {type(error).__name__}: {error}")
        where = _write_traceback(error, message)
        return _report(LfgpodsError(message, f"Please report it; {where}."), words, stderr)


def failure_code(words: Sequence[str], error: type[LfgpodsError] | LfgpodsError = LfgpodsError) -> int:
    """The exit code of the command line WORDS if it fails with ERROR."""
    return EXEC_FAILURE if _is_exec(words) else error.exit_code


def _output_error(error: OSError, words: Sequence[str]) -> LfgpodsError:
    """The error if stdout has no room. The database has its own."""
    happened = "Changes made so far remain; see lfgpods history."
    if _is_exec(words):
        happened = "The command was ended if it was still running; check what it did before you run it again."
    return LfgpodsError(f"the output cannot be written: {error.strerror}", f"Free some space for it. {happened}")


def _write_traceback(error: Exception, what: str) -> str:
    from lfgpods.cli.logs import write_traceback

    return write_traceback(error, what, log_file())


def _report(error: LfgpodsError, words: Sequence[str], stderr: TextIO) -> int:
    from lfgpods.cli.output import show_error

    with suppress(OSError):  # the exit code still reports the failure
        print(show_error(error, Format.JSON if _wants_json(words) else Format.TABLE), file=stderr, flush=True)
    return failure_code(words, error)


def _verb(words: Sequence[str]) -> str:
    return next((word for word in words if not word.startswith("-")), "")


def _is_exec(words: Sequence[str]) -> bool:
    return _verb(words) == "exec"


def _wants_json(words: Sequence[str]) -> bool:
    """Whether the command line asks for JSON. Also works if the command line is not valid."""
    ours = words[: words.index("--")] if "--" in words else words
    if _is_exec(words):
        return False
    return re.search(r" (-v*o ?|--output[= ])json ", f" {' '.join(ours)} ") is not None
