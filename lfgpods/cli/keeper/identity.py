"""What a caller and its keeper agree on: which command lines a keeper may run, where it listens, and their signals.

Imports almost nothing, like `client`: these two modules are the whole cost of a handed-over command.
"""

from __future__ import annotations

import os
import sys
import zlib

from lfgpods.core.version import __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping

ACCEPTED, REFUSED, GO = b"+", b"-", b"!"
ANSWER_TIMEOUT = 2.0
"""How long a caller waits for a keeper to accept its command line, in seconds."""
HEADER = 8
"""Bytes of the length that goes ahead of a request."""
_SETTINGS = ("LFGPODS_", "K8S_SSH_", "PG")  # the last are libpq's, for a PostgreSQL database
_OTHERS = ("HOME", "USER", "LOGNAME", "SSH_AUTH_SOCK", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "PATH", "KUBECONFIG")


def identity(environ: Mapping[str, str]) -> bytes:
    """Everything that decides what a command line does. A keeper runs only command lines of its own identity.

    Any setting may hold a relative path, so the current folder is part of it; one that was removed and made again is
    another. Raises OSError if the current folder was removed.
    """
    folder = os.stat(".")
    names = sorted(name for name in environ if name.startswith(_SETTINGS) or name in _OTHERS)
    parts = [
        __version__,
        sys.executable,
        os.path.dirname(__file__),
        os.getcwd(),
        f"{folder.st_dev}:{folder.st_ino}",
        *(f"{name}={environ[name]}" for name in names),
    ]
    return b"\0".join([*map(os.fsencode, parts), env_file()])


def env_file() -> bytes:
    """The `.env` of the current folder; empty if there is none."""
    try:
        with open(".env", "rb") as file:
            return file.read()
    except OSError:
        return b""


def socket_folder() -> str:
    """The folder of this user's sockets. Check it with `is_private` before use."""
    place = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"  # noqa: S108
    return f"{place}/lfgpods-keepers-{os.getuid()}"


def socket_path(identity: bytes) -> str:
    """Where the keeper of IDENTITY listens. Two identities may share a path; the keeper tells them apart."""
    return f"{socket_folder()}/{zlib.crc32(identity):08x}{zlib.adler32(identity):08x}"


def connect(path: str) -> socket.socket | None:
    """Connect to the keeper that listens at PATH. Returns None if there is none, or if it may not be this user's."""
    from socket import AF_UNIX, SOCK_STREAM, socket

    if not is_private(os.path.dirname(path)):
        return None
    connection = socket(AF_UNIX, SOCK_STREAM)
    try:
        connection.settimeout(ANSWER_TIMEOUT)
        connection.connect(path)
    except OSError:
        connection.close()
        return None
    return connection


def is_private(folder: str) -> bool:
    """Whether only this user can put anything into FOLDER."""
    try:
        found = os.lstat(folder)
    except OSError:
        return False
    return found.st_uid == os.getuid() and found.st_mode & 0o170077 == 0o040000
