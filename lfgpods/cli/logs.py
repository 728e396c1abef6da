"""Logs of the command line: everything goes to a file, and to stderr as --verbose says. Secrets are masked in both.

Tracebacks go to the file only; a record on stderr is one line. A failing log never fails a command. The file is not
opened before there is something to write. A program that uses lfgpods as a library configures the logger "lfgpods".
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lfgpods.core.text import masked, one_line, printable

LOGGER = "lfgpods"
FILE_SIZE = 1024 * 1024
FILES = 3
MAX_RECORD = 64 * 1024
"""Longer records are cut to so many characters in the file."""
MAX_LINE = 2000
"""Longer records are cut to so many characters on stderr."""
_LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)


@contextmanager
def configured(verbosity: int, log_file: Path) -> Iterator[None]:
    """Log to LOG_FILE and to stderr inside the `with` block. VERBOSITY 0 shows warnings, 1 steps, 2 details."""
    logger = logging.getLogger(LOGGER)
    level, handlers = logger.level, logger.handlers
    logger.setLevel(logging.DEBUG)
    others = [handler for handler in handlers if not isinstance(handler, _Ours)]
    logger.handlers = [*others, _File(log_file), _Stderr(_LEVELS[min(verbosity, 2)])]
    try:
        yield
    finally:
        logger.handlers = handlers
        logger.setLevel(level)


def write_traceback(error: BaseException, what: str, log_file: Path) -> str:
    """Write WHAT and the traceback of ERROR to LOG_FILE. Returns words that say where it is, or why it is not there."""
    file = _File(log_file)
    exception = (type(error), error, error.__traceback__)
    file.handle(logging.LogRecord(LOGGER, logging.ERROR, __file__, 0, what, None, exception))
    if file.trouble:
        return f"the traceback could not be written to {log_file}: {file.trouble}"
    return f"the traceback is in {log_file}"


class _Ours(logging.Handler):
    """A handler that fails silently."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Do nothing: a log record must not fail a command."""


class _Stderr(_Ours):
    """Writes to the current sys.stderr. Writes each warning only once."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._warnings: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = printable(one_line(_message(record), MAX_LINE))
            if record.levelno >= logging.WARNING:
                if line in self._warnings:
                    return
                self._warnings.add(line)
            print(f"{record.levelname.capitalize()}: {line}", file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


class _File(_Ours):
    """Appends to a file that only its owner can read, and starts a new file when it is full.

    Safe for many processes at once: each record is one write, and only one process moves a full file away.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.trouble = ""
        """Why the last record is not in the file; empty if it is."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._append(_entry(record).encode("utf-8", "backslashreplace"))
            self.trouble = ""
        except Exception as error:
            self.trouble = str(error)
            self.handleError(record)

    def _append(self, entry: bytes) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = self._open()
        try:
            if os.fstat(file).st_size >= FILE_SIZE:
                self._move_away(file)
                os.close(file)
                file = self._open()
            os.write(file, entry)
        finally:
            os.close(file)

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)

    def _move_away(self, file: int) -> None:
        """Make room for a new file, unless another process just did."""
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            if not os.path.samestat(os.fstat(file), self.path.stat()):
                return
        except OSError:
            return
        for number in range(FILES - 1, 0, -1):
            with contextlib.suppress(OSError):
                os.replace(self._numbered(number - 1), self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:
        return f"{record.msg} (with wrong arguments)"


def _entry(record: logging.LogRecord) -> str:
    """RECORD for the file: one line, and its traceback indented below, so that no text can look like another record."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    level = f"{record.levelname:<7} {record.process}"
    text = printable(masked(_message(record)))[:MAX_RECORD]
    lines = [f"{moment}.{int(record.msecs):03}Z {level} {text}"]
    if record.exc_info and record.exc_info[0]:
        traceback = masked(logging.Formatter().formatException(record.exc_info))[-MAX_RECORD:]
        lines += [f"    {printable(line)}" for line in traceback.splitlines()]
    return "".join(f"{line}\n" for line in lines)
