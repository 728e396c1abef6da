"""The stdin of a command on its way to the pod."""

from __future__ import annotations

import select
import threading
from typing import Any, cast

from lfgpods.exec.command import Source
from lfgpods.exec.protocol import CHUNK, chunks
from lfgpods.hosts.base import Process


class Feeder(threading.Thread):
    """Sends what STDIN gives. Start it once the command has begun, so that no input is lost if it never does."""

    def __init__(self, process: Process, stdin: Source) -> None:
        super().__init__(name="lfgpods-stdin", daemon=True)
        self._process = process
        self._stdin = stdin
        self.has_fed_all = False

    def run(self) -> None:
        try:
            while data := self._read():
                for piece in chunks(data):
                    self._process.write(piece)
            self._process.write(b"0\n")
            self.has_fed_all = True
        except (OSError, ValueError, TypeError):
            # The reader reports the end of the stream. If the input cannot be read, the chunks have no end, and the
            # pod kills the command rather than have it take a part for the whole.
            self._process.close_stdin()

    def _read(self) -> bytes:
        """What is there: at least one byte and up to CHUNK; nothing at the end."""
        data = self._stdin.read(CHUNK)
        while data is None:  # a non-blocking descriptor has nothing for now
            self._is_readable(None)
            data = self._stdin.read(CHUNK)
        pieces, size = [data], len(data)
        while data and size < CHUNK and self._is_readable(0):
            data = self._stdin.read(CHUNK - size) or b""  # the next read sees the end again
            pieces.append(data)
            size += len(data)
        return b"".join(pieces)

    def _is_readable(self, timeout: float | None) -> bool:
        """Whether a read would return at once, within TIMEOUT milliseconds; False if that cannot be known."""
        try:
            poll = select.poll()
            poll.register(cast(Any, self._stdin), select.POLLIN)
            return bool(poll.poll(timeout))
        except (TypeError, ValueError, OSError):  # it is no file
            return False
