"""Handing a command line over to a keeper: a process that stays, with its connection and its open shells.

Imports next to nothing, as this is all that a command costs that is handed over. Whatever is not sure to run as it
should is not handed over, and then runs in this process; nothing that may have run is ever run again.
"""

from __future__ import annotations

import os
import sys
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping, Sequence

ACCEPTED, REFUSED, GO = b"+", b"-", b"!"
ACCEPTED_WITHIN = 2.0
HEADER = 8
_SETTINGS = ("LFGPODS_", "K8S_SSH_", "PG")  # the last are libpq's, for a PostgreSQL database
_OTHERS = ("HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "PATH", "KUBECONFIG")
_PATHS = ("FILE", "_FOLDER", "_DATABASE", "_TEMPLATES", "_KNOWN_HOSTS", "KUBECONFIG", "SSLCERT", "SSLKEY", "SSLCRL")


def hand_over(words: Sequence[str]) -> int | None:
    """The exit code of a command line that a keeper ran; None where it is to run here."""
    if words[:1] != ["exec"] or not _is_wanted(os.environ) or _reads_terminal(words):
        return None
    found = identity(os.environ)
    connection = connected(socket_path(found))
    if connection is None:
        return None
    with connection:
        if not _is_accepted(connection, found, words):
            return None
        return _outcome(connection, words)


def identity(environ: Mapping[str, str]) -> bytes:
    """All on which it depends what a command line does: a keeper runs only those of its own identity."""
    from lfgpods import __version__

    names = sorted(name for name in environ if name.startswith(_SETTINGS) or name in _OTHERS)
    env_file = _env_file()
    paths = [environ[name] for name in names if name.endswith(_PATHS) and "://" not in environ[name]]
    is_relative = any(path[:1] not in ("", "/", "~") for value in paths for path in value.split(":"))
    is_relative = is_relative or " " in environ.get("LFGPODS_KUBECTL", "")  # one of its words may be a path
    place = os.getcwd() if env_file or is_relative else ""
    parts = [__version__, sys.executable, os.path.dirname(__file__), place]
    parts += [f"{name}={environ[name]}" for name in names]
    return b"\0".join([*map(os.fsencode, parts), env_file])


def socket_folder() -> str:
    """The folder of the sockets; whether it is this user's own has to be asked of `is_private`."""
    place = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"  # noqa: S108
    return f"{place}/lfgpods-keepers-{os.getuid()}"


def socket_path(identity: bytes) -> str:
    """Where the keeper of an identity listens; two identities may share a name, and the keeper tells them apart."""
    return f"{socket_folder()}/{zlib.crc32(identity):08x}{zlib.adler32(identity):08x}"


def connected(path: str) -> socket.socket | None:
    """A connection to the keeper at PATH, if there is one and it is of this user."""
    from socket import AF_UNIX, SOCK_STREAM, socket

    if not is_private(os.path.dirname(path)):
        return None
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(ACCEPTED_WITHIN)
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection


def is_private(folder: str) -> bool:
    """Whether nobody but this user can put anything into FOLDER."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return found.st_uid == os.getuid() and found.st_mode & 0o170077 == 0o040000


def _reads_terminal(words: Sequence[str]) -> bool:
    """Whether the command may read a terminal, which stops who does so in the background, but not a keeper."""
    asks = any(word == "--stdin" or (word[:1] == "-" and word[:2] != "--" and "i" in word) for word in words)
    return asks and os.isatty(0)


def _is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether there may be a keeper; one that is there can only be found for the settings that it was started with."""
    if "LFGPODS_KEEP" in environ:
        return bool(environ["LFGPODS_KEEP"].strip())
    return b"LFGPODS_KEEP" in _env_file()


def _env_file() -> bytes:
    try:
        with open(".env", "rb") as file:
            return file.read()
    except OSError:
        return b""


def _is_accepted(connection: socket.socket, identity: bytes, words: Sequence[str]) -> bool:
    """Send the command line, and have it run on this process's streams unless the keeper refuses or is silent.

    The streams go with the last word only: one that is on its way to a keeper which does not answer stays open.
    """
    from socket import send_fds

    body = b"\0".join([b"%d" % len(identity), identity + b"\0".join(map(os.fsencode, words))])
    try:
        connection.sendall(len(body).to_bytes(HEADER, "big") + body)
        if connection.recv(1) != ACCEPTED:
            return False
        connection.settimeout(None)
        send_fds(connection, [GO], [0, 1, 2])
    except OSError:
        return False
    return True


def _outcome(connection: socket.socket, words: Sequence[str]) -> int:
    """The exit code of the command; a caller who is interrupted goes away, and the keeper then ends the command."""
    try:
        answer = connection.recv(1)
    except OSError:
        answer = b""
    except KeyboardInterrupt as interrupt:
        return _told(interrupt, words)
    if answer:
        return answer[0]
    from lfgpods.core.errors import OutcomeUnknownError

    unknown = OutcomeUnknownError(
        "outcome unknown: the keeper ended before the command's end was confirmed",
        "It may have run wholly or in part; check what it did before you run it again.",
    )
    return _told(unknown, words)


def _told(error: BaseException, words: Sequence[str]) -> int:
    """The exit code for ERROR, which is told as everywhere."""
    from lfgpods.cli.app import outcome

    def fail() -> None:
        raise error

    return outcome(fail, words, sys.stderr)
