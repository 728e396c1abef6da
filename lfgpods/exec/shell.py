"""A shell in a pod that runs commands: bytes in, bytes out, and an outcome that is proven or said to be unknown.

The command travels over stdin, so neither a process list on the host nor an audit log shows it. Nothing is retried.
"""

from __future__ import annotations

import secrets
import threading
import time
from contextlib import suppress

from lfgpods.core.errors import HostError, KubernetesError
from lfgpods.exec import outcomes
from lfgpods.exec.command import Invocation
from lfgpods.exec.input import Feeder
from lfgpods.exec.protocol import BOOTSTRAP, FramedStream, command_lines, script
from lfgpods.hosts.base import Process
from lfgpods.kube.kubectl import Kubectl

READY_WITHIN = 10.0
"""How long an idle shell may take to answer, in seconds. Most do so in a millisecond."""
POLL_INTERVAL, CANCEL_POLL_INTERVAL = 1.0, 0.2
END_GRACE = 8.0
"""How long a command and its process group may take to end after their time limit, in seconds."""


class ShellIsGoneError(Exception):
    """The shell takes no more commands, for whatever reason. No part of this one has run."""


class Shell:
    """A shell in POD that runs commands one after another, each with processes of its own.

    Opens at once, in one remote command. Ends when this end closes or is lost.
    """

    def __init__(self, kubectl: Kubectl, namespace: str, pod: str) -> None:
        self._kubectl = kubectl
        self.pod = pod
        self._process = kubectl.exec(namespace, pod, ["sh", "-c", BOOTSTRAP])
        self._is_new = True
        self._token = ""
        """The token of the command that the shell was asked to take."""
        self.is_reusable = False
        """Whether the last command has ended, and none of its input is still on the way."""

    def close(self) -> None:
        self._process.close()

    def probe(self) -> None:
        """Ask a shell that has run a command whether it takes another; only then is it sent.

        So no command is lost with its shell. `run` asks by itself, and waits for the answer. Raises ShellIsGoneError.
        """
        self.is_reusable = False
        self._token = secrets.token_hex(16)
        try:
            self._process.write(f"{self._token}\n".encode())
        except (BrokenPipeError, HostError) as error:
            raise ShellIsGoneError from error

    def run(self, invocation: Invocation) -> int:
        """Run a command and return its exit code. Output goes to the sinks as it comes.

        Raises TimeLimitError if its time was over and its process group was killed; PodNotRunningError or
        KubernetesError if nothing ran; ShellIsGoneError if nothing ran in a shell that has run others before;
        OutcomeUnknownError if no proof of its end came. After an error, close the shell.
        """
        command, stdin, timeout = invocation.command, invocation.stdin, invocation.timeout
        command.check()
        lines = command_lines(command, feed=stdin is not None, seconds=timeout)
        process = self._process
        if self._is_new:
            token = secrets.token_hex(16)
            lines = f"{script()}\n{token}\n{lines}"
            out, err = FramedStream(token), FramedStream(token)
            self._is_new = False
        else:
            if not self._token:
                self.probe()
            out, err = self._answer()
        deadline = None if timeout is None else time.monotonic() + timeout
        if _is_cancelled(invocation):
            raise outcomes.cancelled()
        limit = _TimeLimit(process, timeout)
        with limit:
            with suppress(BrokenPipeError):  # its exit code and stderr say why it takes no more
                process.write(lines.encode())
            feeder: Feeder | None = None
            give_up: float | None = None
            while not (out.ended and err.ended):
                if stdin is not None and err.started and feeder is None:
                    feeder = Feeder(process, stdin)
                    feeder.start()
                now = time.monotonic()
                if give_up is None and deadline is not None and now >= deadline:
                    process.close_stdin()
                    give_up = now + END_GRACE
                if give_up is not None and now >= give_up:
                    break
                if _is_cancelled(invocation):
                    raise outcomes.cancelled()
                until = give_up if give_up is not None else deadline
                poll = POLL_INTERVAL if invocation.cancelled is None else CANCEL_POLL_INTERVAL
                output = process.read(poll if until is None else min(poll, max(0.0, until - now)))
                if data := out.feed(output.stdout):
                    invocation.on_stdout(data)
                if data := err.feed(output.stderr):
                    invocation.on_stderr(data)
                if output.ended:
                    break
        if give_up is not None or limit.is_over:
            raise outcomes.timed_out(timeout, ended=err.ended)
        if not (out.ended and err.ended):
            raise self._without_trailer(err)
        self.is_reusable = stdin is None or (feeder is not None and feeder.has_fed_all)
        return outcomes.exit_code_of(err.trailer, command)

    def _answer(self) -> tuple[FramedStream, FramedStream]:
        """The streams of the command that the shell was asked to take, once it says that it does."""
        deadline = time.monotonic() + READY_WITHIN
        out, err = FramedStream(self._token), FramedStream(self._token)
        self._token = ""
        try:
            while not err.started:  # the answer on stdout follows at once
                output = self._process.read(deadline - time.monotonic())
                out.feed(output.stdout)
                err.feed(output.stderr)
                if output.ended or time.monotonic() >= deadline:
                    raise ShellIsGoneError
        except HostError as error:
            raise ShellIsGoneError from error
        return out, err

    def _without_trailer(self, err: FramedStream) -> KubernetesError:
        """What it means that the stream ended without a trailer: nothing ran, or nobody knows."""
        code = self._process.exit_code
        if code is not None and not err.started and outcomes.is_refusal(code, err.held):
            refusal = self._kubectl.exec_refusal(code, err.held)
            return outcomes.nothing_ran(refusal, err.held.decode(errors="replace"), self.pod)
        return outcomes.unknown(code, self.pod)


def _is_cancelled(invocation: Invocation) -> bool:
    return invocation.cancelled is not None and invocation.cancelled.is_set()


class _TimeLimit:
    """Kills the command in the pod after so many seconds, even if a sink blocks the reader of its output."""

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
            self._timer.join(END_GRACE)  # if it is running, it must not kill the next command instead

    def _end(self) -> None:
        self.is_over = True
        self._process.close_stdin()
