"""This machine as the host. Commands are child processes."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence

from lfgpods.core.errors import HostError
from lfgpods.hosts.base import Output

_CHUNK = 65536


class LocalHost:
    """Runs commands on this machine with this process's environment."""

    def __init__(self, *, access_host: str | None = None, context: str | None = None) -> None:
        self.name = f"this machine ({context})" if context else "this machine"
        self.address = access_host or "localhost"

    capacity = None

    def when_full(self, make_room: Callable[[], object]) -> None:
        """Do nothing: there is no limit."""

    def open(self, argv: Sequence[str], *, ends_with_us: bool = False) -> LocalProcess:
        pipe = subprocess.PIPE
        try:
            child = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0)
        except FileNotFoundError:
            return self.open(["sh", "-c", 'echo "$0: not found" >&2; exit 127', argv[0]])
        except OSError as error:
            raise HostError(
                f"{argv[0]} cannot be started: {error}", "Check the command and the length of its arguments."
            ) from error
        return LocalProcess(child, ends_with_us)

    def close(self) -> None:
        """Do nothing: no connection is open."""


class LocalProcess:
    """A child process and its streams."""

    def __init__(self, child: subprocess.Popen[bytes], ends_with_us: bool) -> None:
        self._child = child
        self._ends_with_us = ends_with_us
        self._selector = selectors.DefaultSelector()
        for stream in ("stdout", "stderr"):
            self._selector.register(getattr(child, stream), selectors.EVENT_READ, stream)

    @property
    def exit_code(self) -> int | None:
        code = self._child.returncode
        return None if code is None or code < 0 else code

    def read(self, timeout: float) -> Output:
        found = {"stdout": b"", "stderr": b""}
        ended = False
        for key, _ in self._selector.select(max(0.0, timeout)) if self._selector.get_map() else ():
            data = os.read(key.fd, _CHUNK)
            found[key.data] = data
            if not data:
                self._selector.unregister(key.fileobj)
        if not self._selector.get_map():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._child.wait(max(0.0, timeout))
                ended = True
        return Output(found["stdout"], found["stderr"], ended)

    def write(self, data: bytes) -> None:
        stdin = self._child.stdin
        assert stdin is not None
        try:
            view = memoryview(data)
            while view:
                view = view[stdin.write(view) :]
        except (OSError, ValueError) as error:
            raise BrokenPipeError("the command accepts no more input") from error

    def close_stdin(self) -> None:
        with contextlib.suppress(OSError):
            if self._child.stdin is not None:
                self._child.stdin.close()

    def close(self) -> None:
        self.close_stdin()
        if self._ends_with_us and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
        self._selector.close()
        for stream in (self._child.stdout, self._child.stderr):
            if stream is not None:
                stream.close()
        deadline = time.monotonic() + 5
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(deadline - time.monotonic())
