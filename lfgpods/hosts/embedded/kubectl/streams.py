"""The processes of the embedded host: a kubectl command in a thread, and a command in a container."""

from __future__ import annotations

import threading
from collections.abc import Callable

from lfgpods.hosts.base import Output, Process
from lfgpods.hosts.embedded.cluster.errors import KubectlError

KILLED = 137
"""The exit code of a command that was killed by SIGKILL."""

_POLL_INTERVAL = 0.05
"""How often a silent command checks whether its caller has closed it, in seconds."""


class ClosedError(Exception):
    """The caller has closed the command."""


class Streams:
    """The streams between an interpreted command and its caller, each in a thread of its own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stdin = bytearray()
        self._stdout = bytearray()
        self._stderr = bytearray()
        self._stdin_ended = False
        self._ended = False
        self._closed = False
        self.exit_code: int | None = None

    def read_stdin(self) -> bytes:
        """Wait for the end of stdin and return all of it; empty the second time. Raises ClosedError."""
        with self._changed:
            self._changed.wait_for(lambda: self._stdin_ended or self._closed)
            self._check()
            stdin = bytes(self._stdin)
            self._stdin.clear()
            return stdin

    def out(self, text: str) -> None:
        with self._changed:
            self._check()
            self._stdout += text.encode()
            self._changed.notify_all()

    def err(self, text: str) -> None:
        with self._changed:
            self._check()
            self._stderr += text.encode()
            self._changed.notify_all()

    def forward(self, process: Process, *, with_stderr: bool = True) -> int:
        """Copy the output of PROCESS until it ends. Returns its exit code. Raises ClosedError."""
        while True:
            output = process.read(_POLL_INTERVAL)
            with self._changed:
                self._check()
                self._stdout += output.stdout
                self._stderr += output.stderr if with_stderr else b""
                self._changed.notify_all()
            if output.ended:
                return KILLED if process.exit_code is None else process.exit_code

    def pause(self, seconds: float) -> None:
        """Sleep. Raises ClosedError as soon as the caller closes the command."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, max(0.0, seconds))
            self._check()

    def _check(self) -> None:
        if self._closed:
            raise ClosedError

    def feed(self, data: bytes) -> None:
        with self._changed:
            if self._ended or self._closed:
                raise BrokenPipeError("the command takes no more input")
            self._stdin += data

    def end_stdin(self) -> None:
        with self._changed:
            self._stdin_ended = True
            self._changed.notify_all()

    def end(self, exit_code: int) -> None:
        with self._changed:
            self._ended, self.exit_code = True, exit_code
            self._changed.notify_all()

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self, timeout: float) -> Output:
        """The output since the last call. Waits up to TIMEOUT seconds for some."""
        with self._changed:
            self._changed.wait_for(lambda: self._stdout or self._stderr or self._ended, max(0.0, timeout))
            stdout, stderr = bytes(self._stdout), bytes(self._stderr)
            self._stdout.clear()
            self._stderr.clear()
            return Output(stdout, stderr, ended=self._ended)


class InterpretedProcess:
    """A command that WORK runs in a thread of its own; WORK returns the exit code."""

    def __init__(self, work: Callable[[Streams], int]) -> None:
        self._streams = Streams()
        self._thread = threading.Thread(target=self._run, args=(work,), name="lfgpods-embedded", daemon=True)
        self._failure: BaseException | None = None
        self._thread.start()

    def _run(self, work: Callable[[Streams], int]) -> None:
        code = 1
        try:
            code = work(self._streams)
        except ClosedError:
            pass
        except BaseException as error:  # `read` raises it
            self._failure = error
        finally:
            self._streams.end(code)

    @property
    def exit_code(self) -> int | None:
        return self._streams.exit_code

    def read(self, timeout: float) -> Output:
        output = self._streams.take(timeout)
        if output.ended and self._failure is not None:
            raise self._failure
        return output

    def write(self, data: bytes) -> None:
        self._streams.feed(data)

    def close_stdin(self) -> None:
        self._streams.end_stdin()

    def close(self) -> None:
        self._streams.close()
        self._thread.join(5.0)


class ExecProcess:
    """A command in a container that ends like `kubectl exec`. Its output is cut off after DROPPED_AFTER bytes."""

    def __init__(self, inner: Process, *, stdin: bool, dropped_after: int | None = None) -> None:
        self._inner = inner
        self._left = dropped_after
        self._code: int | None = None
        self._stdin = stdin
        if not stdin:
            inner.close_stdin()

    @property
    def exit_code(self) -> int | None:
        return self._code

    def read(self, timeout: float) -> Output:
        output = self._inner.read(timeout)
        if self._left is not None:
            stdout, stderr = output.stdout[: self._left], output.stderr[: max(0, self._left - len(output.stdout))]
            dropped = len(output.stdout) + len(output.stderr) > self._left
            self._left -= len(stdout) + len(stderr)
            if dropped or self._left == 0:
                self._code = 0
                self._inner.close_stdin()
                return Output(stdout, stderr, ended=True)
        if not output.ended:
            return output
        self._code = self._inner.exit_code
        if self._code is None:
            self._code = KILLED  # only the end of its pod kills it with a signal
        message = f"command terminated with exit code {self._code}\n".encode() if self._code else b""
        return Output(output.stdout, output.stderr + message, ended=True)

    def write(self, data: bytes) -> None:
        if self._stdin:
            self._inner.write(data)

    def close_stdin(self) -> None:
        self._inner.close_stdin()

    def close(self) -> None:
        self._inner.close()


def failed_process(error: KubectlError) -> InterpretedProcess:
    """A kubectl process that prints ERROR and exits."""

    def work(streams: Streams) -> int:
        streams.err(error.text + "\n")
        return error.exit_code

    return InterpretedProcess(work)
