"""What lfgpods and shell.sh send each other: a command's lines, the chunks of its stdin, the frames of its output.

shell.sh, which runs in the pod, begins with a table of it. Pure, but for reading the scripts.
"""

from __future__ import annotations

import functools
import math

from lfgpods.core.scripts import load_script
from lfgpods.exec.command import Command

BLOCK = 1 << 16
CHUNK = 1 << 20
"""Input bytes per `dd` process in the pod. Starting dd costs about as much as copying a tenth of this."""

BOOTSTRAP = 'IFS= read -r lfg_script && eval "$(printf %b "$lfg_script")"'
"""All of shell.sh that a process list shows; the script itself is the first line on stdin."""


@functools.cache
def script() -> str:
    """shell.sh, with worker.sh in it, as the one line that BOOTSTRAP reads."""
    worker = load_script(__file__, "worker.sh")
    return escaped(f"lfg_worker='{worker}'\n{load_script(__file__, 'shell.sh')}")


def command_lines(command: Command, *, feed: bool, seconds: float | None) -> str:
    """What shell.sh reads of COMMAND after its token. With FEED, the command's stdin follows.

    With SECONDS, the pod itself kills a command that is still reading stdin after that time.
    """
    words = command.argv if command.line is None else (command.line,)
    mode = "argv" if command.line is None else "shell"
    limit = "" if seconds is None else f" {math.ceil(seconds) + 1}"
    lines = [escaped(command.workdir or ""), mode, f"yes{limit}" if feed else "no", str(len(words))]
    return "\n".join([*lines, *map(escaped, words), ""])


def chunks(data: bytes) -> list[bytes]:
    """DATA as shell.sh reads a command's stdin; b"0\\n" ends it."""
    whole = len(data) - len(data) % BLOCK
    pieces = [b"%d %d\n" % (BLOCK, whole // BLOCK), data[:whole]] if whole else []
    if rest := data[whole:]:
        pieces.append(b"%d 1\n%b" % (len(rest), rest))
    return pieces


def escaped(text: str) -> str:
    """TEXT as one ASCII line that `printf %b` turns back into the same bytes."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\0{byte:03o}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


class FramedStream:
    """One output stream of a shell, from which it takes the command's own bytes."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._start = self._token + b" start\n"
        self.started = False
        self.ended = False
        self.trailer = ""
        """What came behind the token at the end: on stderr, the exit code."""
        self.held = b""
        """Bytes that may be part of a frame; before the start, kubectl's own words."""

    def feed(self, data: bytes) -> bytes:
        """Take DATA as it came. Returns the bytes that are certainly the command's."""
        if self.ended or not data:
            return b""
        self.held += data
        if not self.started:
            _, found, rest = self.held.partition(self._start)
            if not found:
                return b""  # kubectl's own words, or late ones of an earlier command
            self.started, self.held = True, rest
        before, found, after = self.held.partition(self._token)
        if found:
            line, newline, _ = after.partition(b"\n")
            self.ended = bool(newline)
            self.trailer = line.decode().strip()
            self.held = found + after
            return before
        keep = next(
            (n for n in range(min(len(self._token), len(before)), 0, -1) if self._token.startswith(before[-n:])), 0
        )
        self.held = before[len(before) - keep :]
        return before[: len(before) - keep]
