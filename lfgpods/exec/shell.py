"""Commands in a pod: bytes in, bytes out, and an outcome that is known or said to be unknown.

The protocol is that of shell.sh, which runs in the pod. The command and its words travel over stdin, so they
show neither in a process list on the host nor in an audit log. Nothing here is ever retried.
"""

from __future__ import annotations

import functools
import math
import secrets
import select
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from lfgpods.core.errors import (
    HostError,
    KubernetesError,
    OutcomeUnknownError,
    PodNotRunningError,
    TimeLimitError,
    UsageError,
)
from lfgpods.exec.command import Command, Invocation, Source
from lfgpods.hosts.base import Process
from lfgpods.kube.kubectl import Kubectl

BLOCK = 1 << 16
CHUNK = 1 << 20
"""Bytes of input that one process in the pod passes on, block by block: starting it takes as long as a tenth of it."""
READY_WITHIN = 10.0
"""Seconds in which a shell that waits has to answer; most do so in a thousandth."""
_CUT = b"error reading from error stream"
"""kubectl's words when streams that it had into the pod broke off."""
LOOK_EVERY, CANCELLED_WITHIN = 1.0, 0.2
END_GRACE = 8.0
"""Seconds that a command and its group get to end, and its last output to arrive, after their time limit."""


def _lines(command: Command, *, feed: bool, seconds: float | None) -> str:
    """What shell.sh reads of COMMAND after its token; with FEED it goes on with the command's stdin.

    With SECONDS the pod ends a command that is fed after that time by itself, if it was not told to.
    """
    words = command.argv if command.line is None else (command.line,)
    mode = "argv" if command.line is None else "shell"
    limit = "" if seconds is None else f" {math.ceil(seconds) + 1}"
    lines = [_escaped(command.workdir or ""), mode, f"yes{limit}" if feed else "no", str(len(words))]
    return "\n".join([*lines, *map(_escaped, words), ""])


def _escaped(text: str) -> str:
    """TEXT as one ASCII line that `printf %b` gives back byte for byte."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(
        chr(byte) if 0x20 <= byte < 0x7F and byte != 0x5C else f"\\0{byte:03o}"
        for byte in text.encode("utf-8", "surrogateescape")
    )


_BOOTSTRAP = 'IFS= read -r lfg_script && eval "$(printf %b "$lfg_script")"'
"""All that shows of shell.sh in a process list; the script itself is the first line on stdin."""


@functools.cache
def _script() -> str:
    lines = (Path(__file__).parent / "shell.sh").read_text().splitlines()
    return _escaped("\n".join(line for line in lines if line and not line.lstrip().startswith("#")))


class ShellIsGoneError(Exception):
    """The shell does not take a command any more, for whatever reason; nothing of it has run."""


class Shell:
    """A shell in POD that runs commands one after another, each with processes of its own.

    Opened at once, in one remote command; it ends when this end closes or is lost.
    """

    def __init__(self, kubectl: Kubectl, namespace: str, pod: str) -> None:
        self._kubectl = kubectl
        self.pod = pod
        self._process = kubectl.exec(namespace, pod, ["sh", "-c", _BOOTSTRAP])
        self._is_new = True
        self._token = ""
        """Of the command that the shell was asked to take."""
        self.is_clean = False
        """Whether the last command has ended, and nothing more of its input is on the way."""

    def close(self) -> None:
        self._process.close()

    def ask(self) -> None:
        """Have a shell that has run a command say that it takes a further one, which is sent only then.

        So it is never lost with the shell. `run` asks by itself, and waits for the answer. Raises ShellIsGoneError.
        """
        self.is_clean = False
        self._token = secrets.token_hex(16)
        try:
            self._process.write(f"{self._token}\n".encode())
        except (BrokenPipeError, HostError) as error:
            raise ShellIsGoneError from error

    def run(self, invocation: Invocation) -> int:
        """Run a command and return its exit code; output goes to the sinks as it comes.

        Raises TimeLimitError when its time was over, and its process group has been ended; PodNotRunningError or
        KubernetesError when nothing ran, ShellIsGoneError when nothing ran in a shell that has run others before;
        OutcomeUnknownError when no proof of its end came. After an error close the shell.
        """
        command, stdin = invocation.command, invocation.stdin
        timeout, cancelled = invocation.timeout, invocation.cancelled
        command.check()
        lines = _lines(command, feed=stdin is not None, seconds=timeout)
        process = self._process
        if self._is_new:
            token = secrets.token_hex(16)
            lines = f"{_script()}\n{token}\n{lines}"
            out, err = _Stream(token), _Stream(token)
            self._is_new = False
        else:
            if not self._token:
                self.ask()
            out, err = self._answer()
        deadline = None if timeout is None else time.monotonic() + timeout
        if cancelled is not None and cancelled.is_set():
            raise _cancelled()
        limit = _TimeLimit(process, timeout)
        with limit:
            with suppress(BrokenPipeError):  # its exit code and stderr say why it took no more
                process.write(lines.encode())
            feeder: _Feeder | None = None
            give_up: float | None = None
            while not (out.ended and err.ended):
                if stdin is not None and err.started and feeder is None:
                    feeder = _Feeder(process, stdin)
                    feeder.start()
                now = time.monotonic()
                if give_up is None and deadline is not None and now >= deadline:
                    process.close_stdin()
                    give_up = now + END_GRACE
                if give_up is not None and now >= give_up:
                    break
                if cancelled is not None and cancelled.is_set():
                    raise _cancelled()
                until = give_up if give_up is not None else deadline
                patience = LOOK_EVERY if cancelled is None else CANCELLED_WITHIN
                output = process.read(patience if until is None else min(patience, max(0.0, until - now)))
                if data := out.feed(output.stdout):
                    invocation.on_stdout(data)
                if data := err.feed(output.stderr):
                    invocation.on_stderr(data)
                if output.ended:
                    break
        if give_up is not None or limit.is_over:
            raise _timed_out(timeout, ended=err.ended)
        if not (out.ended and err.ended):
            raise _without_trailer(self._kubectl, process.exit_code, err, self.pod)
        self.is_clean = stdin is None or (feeder is not None and feeder.has_fed_all)
        return _exit_code(err.trailer, command)

    def _answer(self) -> tuple[_Stream, _Stream]:
        """The streams of the command that the shell was asked to take, once it has said that it does."""
        deadline = time.monotonic() + READY_WITHIN
        out, err = _Stream(self._token), _Stream(self._token)
        self._token = ""
        try:
            while not err.started:  # stdout's answer comes right behind it
                output = self._process.read(deadline - time.monotonic())
                out.feed(output.stdout)
                err.feed(output.stderr)
                if output.ended or time.monotonic() >= deadline:
                    raise ShellIsGoneError
        except HostError as error:
            raise ShellIsGoneError from error
        return out, err


def _exit_code(trailer: str, command: Command) -> int:
    if trailer == "workdir":
        raise UsageError(f"the pod has no folder {command.workdir!r}, or it cannot be entered", "Correct --workdir.")
    return int(trailer)


def _timed_out(timeout: float | None, *, ended: bool) -> TimeLimitError:
    if ended:
        return TimeLimitError(
            f"the command was ended after {timeout:g} s",
            "Give it more time with --timeout, or run it in the background.",
        )
    return TimeLimitError(
        f"the command was told to end after {timeout:g} s, and has not confirmed it",
        "It may still run; look with: lfgpods exec ... -c 'ps'",
    )


def _cancelled() -> OutcomeUnknownError:
    return OutcomeUnknownError(
        "outcome unknown: the command was told to end before it had ended by itself",
        "It may have run in part; check what it did before you run it again.",
        code="cancelled",
    )


def _without_trailer(kubectl: Kubectl, exit_code: int | None, err: _Stream, pod: str) -> KubernetesError:
    """What it means that the stream ended without a trailer: nothing ran, or nobody knows."""
    if not err.started and exit_code and _CUT not in err.held:
        refusal = kubectl.exec_refusal(exit_code, err.held)
        said = err.held.decode(errors="replace")
        if refusal.code == "not_found":
            return PodNotRunningError(f"the pod {pod} is not there any more", _CREATE_HINT)
        if "executable file not found" in said or '"sh"' in said:
            return KubernetesError("the pod's image has no shell (sh)", "Use an image with a shell.", code="no_shell")
        if (
            "container not found" in said
            or "not running" in said
            or "is not created" in said
            or "completed pod" in said
            or "no running task" in said
        ):
            return PodNotRunningError(f"the container of pod {pod} is not running", _CREATE_HINT)
        return refusal
    lost = exit_code is None
    what = "the connection to the host was lost" if lost else f"the stream from pod {pod} ended early"
    unknown = OutcomeUnknownError(
        f"outcome unknown: {what} before the command's end was confirmed",
        "It may have run wholly or in part; check what it did before you run it again.",
    )
    unknown.link_lost = lost
    return unknown


_CREATE_HINT = "Bring it back with lfgpods create."


class _TimeLimit:
    """Tells the pod to end the command after so many seconds, whatever holds up who takes its output meanwhile."""

    def __init__(self, process: Process, seconds: float | None) -> None:
        self.is_over = False
        self._process = process
        self._timer = None if seconds is None else threading.Timer(seconds, self._end)

    def __enter__(self) -> None:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()

    def __exit__(self, *exception: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join(END_GRACE)  # it may be at it: a command of later would be ended in this one's place

    def _end(self) -> None:
        self.is_over = True
        self._process.close_stdin()


class _Feeder(threading.Thread):
    """Sends what STDIN gives; started after the command began, so that none is lost if it never does."""

    def __init__(self, process: Process, stdin: Source) -> None:
        super().__init__(name="lfgpods-stdin", daemon=True)
        self._process = process
        self._stdin = stdin
        self.has_fed_all = False

    def run(self) -> None:
        try:
            while data := self._read():
                whole = len(data) - len(data) % BLOCK
                if whole:
                    self._process.write(b"%d %d\n" % (BLOCK, whole // BLOCK))
                    self._process.write(data[:whole])
                if rest := data[whole:]:
                    self._process.write(b"%d 1\n%b" % (len(rest), rest))
            self._process.write(b"0\n")
            self.has_fed_all = True
        except (OSError, ValueError, TypeError):
            # The stream's end is told by its reader. Input that cannot be read leaves the chunks unended,
            # and the pod then ends the command rather than have it take a part for the whole.
            self._process.close_stdin()

    def _read(self) -> bytes:
        """What is there, up to CHUNK bytes, and at least one; nothing at the end."""
        data = self._stdin.read(CHUNK)
        while data is None:  # nothing there for now, as a descriptor that does not block says
            self._is_readable(None)
            data = self._stdin.read(CHUNK)
        pieces, size = [data], len(data)
        while data and size < CHUNK and self._is_readable(0):
            data = self._stdin.read(CHUNK - size) or b""  # its end is told again
            pieces.append(data)
            size += len(data)
        return b"".join(pieces)

    def _is_readable(self, timeout: float | None) -> bool:
        """Whether a read would return at once, within TIMEOUT milliseconds; False where that cannot be known."""
        try:
            poll = select.poll()
            poll.register(cast(Any, self._stdin), select.POLLIN)
            return bool(poll.poll(timeout))
        except (TypeError, ValueError, OSError):  # it is no file
            return False


class _Stream:
    """One output stream without what shell.sh adds to it."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self._start = self._token + b" start\n"
        self.started = False
        self.ended = False
        self.trailer = ""
        self.held = b""

    def feed(self, data: bytes) -> bytes:
        """What of DATA, and of what was held back before, is the command's for certain."""
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
