"""The keeper: a process that stays for the command lines of `exec`, in the manner of OpenSSH's ControlPersist.

It takes only what it parses without a fault and what its own settings are for, and begins only when it is told to by
a caller who is still there. A caller who goes away takes the command along. It ends when nobody has come for
LFGPODS_KEEP, when lfgpods was replaced by another version, and on SIGTERM, each time after its last command.
"""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import typer

from lfgpods.cli.keeper import client

if TYPE_CHECKING:
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.commands.exec import Execution

LONGEST_REQUEST = 16 << 20
REQUEST_WITHIN = 5.0
LOOK_EVERY = 1.0
"""Seconds between two looks at whether it is time to end."""


def keeper_main(lock: int) -> None:
    """Be the keeper of this process's settings; LOCK is the descriptor that says that there is one."""
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.logs import configured
    from lfgpods.core.settings import load_settings

    settings = load_settings()
    if not settings.keep:
        return
    identity = client.identity(os.environ)
    path = Path(client.socket_path(identity))
    os.set_inheritable(lock, False)
    _allow_many_files()
    os.ftruncate(lock, 0)
    path.unlink(missing_ok=True)
    with (
        configured(0, settings.log_file),
        PodManager(settings) as manager,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener,
    ):
        os.write(lock, f"{os.getpid()} {manager.host_name}".encode())
        before = os.umask(0o177)
        listener.bind(str(path))
        os.umask(before)
        listener.listen(64)
        Keeper(manager, identity, settings.keep).serve(listener, path)


def _allow_many_files() -> None:
    """A command holds about a dozen, and many may run at once."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Keeper:
    """Runs command lines of IDENTITY until nobody has come for KEEP seconds."""

    def __init__(self, manager: PodManager, identity: bytes, keep: float) -> None:
        self._manager = manager
        self._identity = identity
        self._keep = keep
        self._code = _code()
        self._changed = threading.Condition()
        self._running = 0
        self._last = time.monotonic()
        self._told_to_end = False

    def serve(self, listener: socket.socket, path: Path) -> None:
        signal.signal(signal.SIGTERM, self._end)
        listener.settimeout(LOOK_EVERY)
        while not self._is_over():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:  # too many files are open: those who wait are served once some are closed
                with self._changed:
                    self._changed.wait(LOOK_EVERY)
                continue
            with self._changed:
                self._running += 1
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()
        path.unlink(missing_ok=True)
        with self._changed:
            self._changed.wait_for(lambda: not self._running)

    def _end(self, *_: object) -> None:
        self._told_to_end = True

    def _is_over(self) -> bool:
        with self._changed:
            is_idle = not self._running and time.monotonic() - self._last >= self._keep
        return is_idle or self._told_to_end or _code() != self._code

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError, ValueError):  # who sends garbage gets no answer
                try:
                    self._serve_one(connection)
                finally:
                    connection.shutdown(socket.SHUT_RDWR)  # as a thread may still read from it
        finally:
            with self._changed:
                self._running -= 1
                self._last = time.monotonic()
                self._changed.notify_all()

    def _serve_one(self, connection: socket.socket) -> None:
        connection.settimeout(REQUEST_WITHIN)
        execution = self._understood(_request(connection))
        connection.sendall(client.ACCEPTED if execution else client.REFUSED)
        if execution is None:
            return
        go, streams, _, _ = socket.recv_fds(connection, 1, 3)
        try:
            if go == client.GO and len(streams) == 3:
                connection.settimeout(None)
                connection.sendall(bytes([self._run(execution, connection, streams)]))
        finally:
            for stream in streams:
                os.close(stream)

    def _understood(self, body: bytes) -> Execution | None:
        """What the command line asks for, if it is one for this keeper and has no fault that is to be told."""
        from lfgpods.cli.commands.exec import Execution
        from lfgpods.core.errors import LfgpodsError

        length, _, rest = body.partition(b"\0")
        identity, words = rest[: int(length)], rest[int(length) :].split(b"\0")
        if identity != self._identity:
            return None
        try:
            asked = _exec_command().make_context("exec", [os.fsdecode(word) for word in words[1:]]).params
            return None if asked.pop("verbose") else Execution.parsed(**asked)
        except (LfgpodsError, typer.TyperException, typer.Exit):
            return None

    def _run(self, execution: Execution, connection: socket.socket, streams: Sequence[int]) -> int:
        """The exit code with which the caller is to end."""
        from lfgpods.cli.app import EXEC_FAILURE, outcome

        cancelled = threading.Event()

        def watch() -> None:
            with contextlib.suppress(OSError):
                connection.recv(1)
            cancelled.set()

        threading.Thread(target=watch, daemon=True).start()
        stdin, stdout, stderr = streams
        to_stdout = open(stdout, "wb", closefd=False)  # noqa: SIM115 - closing would write again what failed
        to_stderr = open(stderr, "w", errors="backslashreplace", closefd=False)  # noqa: SIM115
        with _Input(stdin) as from_stdin:
            try:
                return outcome(
                    lambda: execution.run(
                        self._manager, from_stdin, to_stdout, cast(BinaryIO, to_stderr.buffer), cancelled
                    ),
                    ["exec"],
                    to_stderr,
                )
            except OSError:  # whoever read our output has left
                return EXEC_FAILURE


class _Input:
    """What the caller's stdin gives, until it is closed: no byte is taken of what is meant for others after that."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._over, self._end = os.pipe()
        self._reading = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> _Input:
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_closed = True
        os.close(self._end)
        if self._reading.acquire(timeout=1.0):  # else it is being read by somebody else too, and stays open
            os.close(self._descriptor)
            os.close(self._over)

    def read(self, size: int, /) -> bytes:
        with self._reading:
            if not self._is_closed:
                poll = select.poll()
                poll.register(self._descriptor, select.POLLIN)
                poll.register(self._over, select.POLLIN)
                if all(ready != self._over for ready, _ in poll.poll()):
                    return os.read(self._descriptor, size)
            raise OSError("the command has ended")


def _request(connection: socket.socket) -> bytes:
    """What a caller asks for. Raises OSError where nothing whole comes."""
    length = int.from_bytes(_exactly(connection, client.HEADER), "big")
    return _exactly(connection, min(length, LONGEST_REQUEST))


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        more = connection.recv(min(length - len(data), 1 << 16))
        if not more:
            raise ConnectionError("the caller has gone")
        data += more
    return bytes(data)


@functools.cache
def _exec_command() -> Any:
    from lfgpods.cli.app import application

    return typer.main.get_command(application("exec")).commands["exec"]  # type: ignore[attr-defined]


def _code() -> tuple[int, ...] | None:
    """What changes when another version of lfgpods is installed in this one's place."""
    try:
        found = os.stat(sys.modules["lfgpods"].__file__ or "")
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)


if __name__ == "__main__":
    keeper_main(int(sys.argv[1]))
