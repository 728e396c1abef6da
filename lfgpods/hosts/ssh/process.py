"""A command on an SSH channel, with stdout and stderr apart."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

import paramiko

from lfgpods.core.errors import HostError
from lfgpods.hosts.base import Output
from lfgpods.hosts.ssh.heartbeat import LOST

_CHUNK = 65536


class SshProcess:
    """A command on a channel of its own."""

    def __init__(self, channel: paramiko.Channel, token: bytes, host: str, release: Callable[[], None]) -> None:
        self._channel = channel
        self._host = host
        self._release: Callable[[], None] | None = release
        self._stdout = _Preamble(token)
        self._stderr = _Preamble(token)
        self.exit_code: int | None = None
        # Not the pipe of channel.fileno(): paramiko may write to it while close() closes it. That ends the whole
        # connection, or writes to another file with the same descriptor (paramiko issue 2271).
        self._has_output = threading.Event()
        channel.in_buffer.set_event(self._has_output)
        channel.in_stderr_buffer.set_event(self._has_output)

    def read(self, timeout: float) -> Output:
        deadline = time.monotonic() + timeout
        channel = self._channel
        while True:
            self._has_output.clear()  # output that arrives from here on sets it again
            raw_out = channel.recv(_CHUNK) if channel.recv_ready() else b""
            raw_err = channel.recv_stderr(_CHUNK) if channel.recv_stderr_ready() else b""
            if not raw_out and not raw_err:
                if self._has_ended():
                    return self._end()
                if time.monotonic() >= deadline:
                    return Output()
                self._wait(deadline - time.monotonic())
                continue
            output = Output(self._stdout.feed(raw_out), self._stderr.feed(raw_err))
            if output.stdout or output.stderr:
                return output

    def write(self, data: bytes) -> None:
        try:
            self._channel.sendall(data)
        except LOST as error:
            raise BrokenPipeError(f"the command on {self._host} takes no more input") from error

    def close_stdin(self) -> None:
        with contextlib.suppress(*LOST):
            self._channel.shutdown_write()

    def close(self) -> None:
        with contextlib.suppress(*LOST):
            self._channel.close()
        if self._release is not None:
            self._release()
            self._release = None

    def _has_ended(self) -> bool:
        channel = self._channel
        ended = channel.closed or (bool(channel.eof_received) and channel.exit_status_ready())
        return ended and not self._channel.recv_ready() and not self._channel.recv_stderr_ready()

    def _wait(self, seconds: float) -> None:
        if self._channel.eof_received:
            self._channel.status_event.wait(seconds)
        else:
            self._has_output.wait(seconds)

    def _end(self) -> Output:
        if self._channel.exit_status_ready() and self._channel.exit_status >= 0:
            self.exit_code = self._channel.exit_status
        if self._stdout.missing and self._stderr.missing and self.exit_code is not None:
            said = " ".join((self._stdout.held + self._stderr.held).decode(errors="replace").split())[-200:]
            raise HostError(
                f"the login shell on {self._host} runs no commands" + (f": {said}" if said else ""),
                "Give the account a plain shell, and start-up files that do not end it.",
                code="login_shell",
            )
        return Output(ended=True)


class _Preamble:
    """Drops everything in a stream up to and including the line of the token."""

    def __init__(self, token: bytes) -> None:
        self._token = token
        self.missing = True
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        if not self.missing:
            return data
        self.held += data
        _, found, after = self.held.partition(self._token)
        if not found:
            return b""
        self.missing = False
        self.held = b""
        return after
