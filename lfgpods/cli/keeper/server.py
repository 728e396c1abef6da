"""The keeper's side: a process that runs the command lines of `exec` that are handed over to it.

It accepts only command lines that it parses without an error and that have its own settings, and starts one only when
its caller, still there, says go. A caller that goes away takes its command along. It ends when no command has come for
LFGPODS_KEEP, when another version of lfgpods was installed, and on SIGTERM, each time after its last command.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

from lfgpods.cli.keeper.identity import ACCEPTED, GO, HEADER, REFUSED, identity, socket_path
from lfgpods.cli.outcome import EXEC_FAILURE, outcome

if TYPE_CHECKING:
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.execution import Execution

    Parse = Callable[[Sequence[str]], Execution | None]

MAX_REQUEST = 16 << 20
REQUEST_TIMEOUT = 5.0
CHECK_INTERVAL = 1.0
"""Seconds between two checks whether it is time to end."""


def run_keeper(lock: int, parse: Parse) -> None:
    """Be the keeper for the settings of this process. LOCK is the descriptor of the lock that the launcher took.

    PARSE returns the command that a command line asks for, or None if the caller has to run it itself.
    """
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.logs import configured
    from lfgpods.core.settings import load_settings

    settings = load_settings()
    if not settings.keep:
        return
    ours = identity(os.environ)
    path = Path(socket_path(ours))
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
        Keeper(manager, ours, parse, idle_timeout=settings.keep).serve(listener, path)


def _allow_many_files() -> None:
    """Raise the limit of open files: a command holds about a dozen, and many may run at once."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class Keeper:
    """Runs command lines of IDENTITY until none has come for IDLE_TIMEOUT seconds."""

    def __init__(self, manager: PodManager, identity: bytes, parse: Parse, *, idle_timeout: float) -> None:
        self._manager = manager
        self._identity = identity
        self._parse = parse
        self._idle_timeout = idle_timeout
        self._installed = _installed_code()
        self._changed = threading.Condition()
        self._running = 0
        self._last_used = time.monotonic()
        self._is_terminated = False

    def serve(self, listener: socket.socket, path: Path) -> None:
        signal.signal(signal.SIGTERM, self._terminate)
        listener.settimeout(CHECK_INTERVAL)
        while not self._has_to_end():
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                continue
            except OSError:  # too many files are open: waiting callers are served once some are closed
                with self._changed:
                    self._changed.wait(CHECK_INTERVAL)
                continue
            with self._changed:
                self._running += 1
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()
        path.unlink(missing_ok=True)
        with self._changed:
            self._changed.wait_for(lambda: not self._running)

    def _terminate(self, *_: object) -> None:
        self._is_terminated = True

    def _has_to_end(self) -> bool:
        with self._changed:
            is_idle = not self._running and time.monotonic() - self._last_used >= self._idle_timeout
        return is_idle or self._is_terminated or _installed_code() != self._installed

    def _answer(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError, ValueError):  # garbage gets no answer
                try:
                    self._serve_one(connection)
                finally:
                    connection.shutdown(socket.SHUT_RDWR)  # a thread may still read from it
        finally:
            with self._changed:
                self._running -= 1
                self._last_used = time.monotonic()
                self._changed.notify_all()

    def _serve_one(self, connection: socket.socket) -> None:
        connection.settimeout(REQUEST_TIMEOUT)
        execution = self._execution(_request(connection))
        connection.sendall(ACCEPTED if execution else REFUSED)
        if execution is None:
            return
        go, streams, _, _ = socket.recv_fds(connection, 1, 3)
        try:
            if go == GO and len(streams) == 3:
                connection.settimeout(None)
                connection.sendall(bytes([self._run(execution, connection, streams)]))
        finally:
            for stream in streams:
                os.close(stream)

    def _execution(self, request: bytes) -> Execution | None:
        """Return the command of REQUEST. None if it is for another keeper, or has to run in the caller's process."""
        length, _, rest = request.partition(b"\0")
        theirs, words = rest[: int(length)], rest[int(length) :].split(b"\0")
        return self._parse([os.fsdecode(word) for word in words]) if theirs == self._identity else None

    def _run(self, execution: Execution, connection: socket.socket, streams: Sequence[int]) -> int:
        """Run EXECUTION on the caller's STREAMS and return the exit code for the caller."""
        cancelled = threading.Event()

        def watch() -> None:
            with contextlib.suppress(OSError):
                connection.recv(1)
            cancelled.set()

        threading.Thread(target=watch, daemon=True).start()
        stdin, stdout, stderr = streams
        to_stdout = open(stdout, "wb", closefd=False)  # noqa: SIM115 - closing it would repeat a failed write
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
            except OSError:  # the reader of the output is gone
                return EXEC_FAILURE


class _Input:
    """The caller's stdin until the command ends. Bytes after that are left for the caller's other programs."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._closed, self._close = os.pipe()
        self._reading = threading.Lock()
        self._is_closed = False

    def __enter__(self) -> _Input:
        return self

    def __exit__(self, *exception: object) -> None:
        self._is_closed = True
        os.close(self._close)
        if self._reading.acquire(timeout=1.0):  # else a read still blocks, and they stay open
            os.close(self._descriptor)
            os.close(self._closed)

    def read(self, size: int, /) -> bytes:
        with self._reading:
            if not self._is_closed:
                poll = select.poll()
                poll.register(self._descriptor, select.POLLIN)
                poll.register(self._closed, select.POLLIN)
                if all(ready != self._closed for ready, _ in poll.poll()):
                    return os.read(self._descriptor, size)
            raise OSError("the command has ended")


def _request(connection: socket.socket) -> bytes:
    """Receive the request of a caller. Raises OSError if it does not arrive whole."""
    length = int.from_bytes(_receive(connection, HEADER), "big")
    return _receive(connection, min(length, MAX_REQUEST))


def _receive(connection: socket.socket, length: int) -> bytes:
    data = bytearray()
    while len(data) < length:
        more = connection.recv(min(length - len(data), 1 << 16))
        if not more:
            raise ConnectionError("the caller has gone")
        data += more
    return bytes(data)


def _installed_code() -> tuple[int, ...] | None:
    """A value that changes when another version of lfgpods is installed in place of this one."""
    try:
        found = os.stat(sys.modules["lfgpods"].__file__ or "")
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)
