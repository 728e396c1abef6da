"""A shell in a pod that runs commands: bytes in, bytes out, and an outcome that is proven, or reported as unknown.

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
"""How long to wait for output at once, in seconds; the second, if the caller may cancel."""
END_GRACE = 8.0
"""How long a command and its process group may take to end after their time limit, in seconds."""


class ShellIsGoneError(Exception):
    """The shell takes no more commands. No part of this one has run."""


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
        """Ask a used shell whether it takes another command. Raises ShellIsGoneError.

        `run` waits for the answer before it sends the command, so no command is lost with its shell. `run` asks by
        itself if nobody has.
        """
        self.is_reusable = False
        self._token = secrets.token_hex(16)
        try:
            self._process.write(f"{self._token}\n".encode())
        except (BrokenPipeError, HostError) as error:
            raise ShellIsGoneError from error

    def run(self, invocation: Invocation) -> int:
        """Run a command and return its exit code. Output goes to the sinks as it comes.

        Raises TimeLimitError if the time was over and the process group was killed; PodNotRunningError or
        KubernetesError if nothing ran; ShellIsGoneError if nothing ran, in a used shell; OutcomeUnknownError if no
        proof of the end came. After an error, close the shell.
        """
        command, timeout = invocation.command, invocation.timeout
        command.check()
        lines = command_lines(command, feed=invocation.stdin is not None, seconds=timeout)
        if self._is_new:
            token = secrets.token_hex(16)
            lines = f"{script()}\n{token}\n{lines}"
            out, err = FramedStream(token), FramedStream(token)
            self._is_new = False
        else:
            if not self._token:
                self.probe()
            out, err = self._answer()
        relay = _Relay(self._process, invocation, out, err)
        if _is_cancelled(invocation):
            raise outcomes.cancelled()
        limit = _TimeLimit(self._process, timeout)
        with limit:
            relay.run(lines.encode())
        if relay.is_over_time or limit.is_over:
            raise outcomes.timed_out(timeout, ended=err.ended)
        if not relay.has_ended:
            raise self._without_trailer(err)
        self.is_reusable = relay.has_sent_all_input
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
        """The error for a stream that ended without a trailer: nothing ran, or the outcome is unknown."""
        code = self._process.exit_code
        if code is not None and not err.started and outcomes.is_refusal(code, err.held):
            refusal = self._kubectl.exec_refusal(code, err.held)
            return outcomes.nothing_ran(refusal, err.held.decode(errors="replace"), self.pod)
        return outcomes.unknown(code, self.pod)


def _is_cancelled(invocation: Invocation) -> bool:
    return invocation.cancelled is not None and invocation.cancelled.is_set()


class _Relay:
    """One command on its way through a shell: passes on its input and its output."""

    def __init__(self, process: Process, invocation: Invocation, out: FramedStream, err: FramedStream) -> None:
        self._process = process
        self._invocation = invocation
        self._out, self._err = out, err
        self._feeder: Feeder | None = None
        timeout = invocation.timeout
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._give_up: float | None = None
        """When to stop waiting for the command to end, once its time is over."""

    @property
    def has_ended(self) -> bool:
        """Whether both streams of the command have ended."""
        return self._out.ended and self._err.ended

    @property
    def is_over_time(self) -> bool:
        return self._give_up is not None

    @property
    def has_sent_all_input(self) -> bool:
        return self._invocation.stdin is None or (self._feeder is not None and self._feeder.has_fed_all)

    def run(self, lines: bytes) -> None:
        """Send LINES, and pass everything on until the command has ended, the stream has, or its time is over."""
        with suppress(BrokenPipeError):  # the exit code and stderr say why the shell takes no more
            self._process.write(lines)
        while not self.has_ended:
            self._start_feeder()
            if self._is_past_limit():
                return
            if _is_cancelled(self._invocation):
                raise outcomes.cancelled()
            if not self._pass_output():
                return

    def _start_feeder(self) -> None:
        stdin = self._invocation.stdin
        if stdin is not None and self._err.started and self._feeder is None:
            self._feeder = Feeder(self._process, stdin)
            self._feeder.start()

    def _is_past_limit(self) -> bool:
        """Kill the command when its time is over. Returns True once it has also had time to end."""
        now = time.monotonic()
        if self._give_up is None and self._deadline is not None and now >= self._deadline:
            self._process.close_stdin()
            self._give_up = now + END_GRACE
        return self._give_up is not None and now >= self._give_up

    def _pass_output(self) -> bool:
        """Wait for output and pass it on. Returns False if there will be no more."""
        until = self._deadline if self._give_up is None else self._give_up
        poll = POLL_INTERVAL if self._invocation.cancelled is None else CANCEL_POLL_INTERVAL
        output = self._process.read(poll if until is None else min(poll, max(0.0, until - time.monotonic())))
        if data := self._out.feed(output.stdout):
            self._invocation.on_stdout(data)
        if data := self._err.feed(output.stderr):
            self._invocation.on_stderr(data)
        return not output.ended


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
