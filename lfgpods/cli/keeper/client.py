"""Hands a command line over to a keeper.

Imports almost nothing, like `identity`: these two modules are the whole cost of a handed-over command. When in doubt,
the command runs in this process instead. A command that may have run is never run again.
"""

from __future__ import annotations

import os
import sys

from lfgpods.cli.keeper.identity import ACCEPTED, GO, HEADER, connect, env_file, identity, socket_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence


def hand_over(words: Sequence[str]) -> int | None:
    """Return the exit code of the command line WORDS if a keeper ran it; None if it has to run in this process."""
    if words[:1] != ["exec"] or not _may_have_keeper(os.environ) or _reads_terminal(words):
        return None
    try:
        ours = identity(os.environ)
    except OSError:
        return None
    connection = connect(socket_path(ours))
    if connection is None:
        return None
    with connection:
        if not _is_accepted(connection, ours, words):
            return None
        return _exit_code(connection, words)


def _may_have_keeper(environ: Mapping[str, str]) -> bool:
    """Whether LFGPODS_KEEP is set here. A keeper has the settings of its callers, so without it there is none."""
    if "LFGPODS_KEEP" in environ:
        return bool(environ["LFGPODS_KEEP"].strip())
    return b"LFGPODS_KEEP" in env_file()


def _reads_terminal(words: Sequence[str]) -> bool:
    """Whether the command may read a terminal. The kernel stops background jobs that do so, but would not a keeper."""
    asks = any(word == "--stdin" or (word[:1] == "-" and word[:2] != "--" and "i" in word) for word in words)
    return asks and os.isatty(0)


def _is_accepted(connection: socket.socket, ours: bytes, words: Sequence[str]) -> bool:
    """Send the command line, and start it on this process's streams unless the keeper refuses or is silent.

    The streams are sent last: descriptors on their way to a keeper that does not answer would stay open.
    """
    from socket import send_fds

    body = b"\0".join([b"%d" % len(ours), ours + b"\0".join(map(os.fsencode, words))])
    try:
        connection.sendall(len(body).to_bytes(HEADER, "big") + body)
        if connection.recv(1) != ACCEPTED:
            return False
        connection.settimeout(None)
        send_fds(connection, [GO], [0, 1, 2])
    except OSError:
        return False
    return True


def _exit_code(connection: socket.socket, words: Sequence[str]) -> int:
    """Wait for the exit code of the command. An interrupt closes the connection, and the keeper ends the command."""
    try:
        answer = connection.recv(1)
    except OSError:
        answer = b""
    except KeyboardInterrupt as interrupt:
        return _report(interrupt, words)
    if answer:
        return answer[0]
    from lfgpods.core.errors import OutcomeUnknownError

    unknown = OutcomeUnknownError(
        "outcome unknown: the keeper ended before the command's end was confirmed",
        "It may have run wholly or in part; check what it did before you run it again.",
    )
    return _report(unknown, words)


def _report(error: BaseException, words: Sequence[str]) -> int:
    """Report ERROR as a command that runs in this process does, and return the exit code."""
    from lfgpods.cli.outcome import outcome

    def fail() -> None:
        raise error

    return outcome(fail, words, sys.stderr)
