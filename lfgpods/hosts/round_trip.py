"""Several steps in one remote command, each with its own input, output, exit code and parser.

    trip = RoundTrip()
    folder = trip.add(folders.prepare_step(...))
    applied = trip.add(kubectl.apply_step(objects))
    trip.send(host, timeout=60)
    folder.result, applied.result

A step runs only if those before it succeeded. After each one the host writes a line with a one-time token and the
exit code to both streams, so no output is taken for that of another step.
"""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from lfgpods.core.errors import HostError, LfgpodsError
from lfgpods.hosts.base import Completed, Host
from lfgpods.hosts.run import read_to_end, run, write_stdin

T = TypeVar("T")

_STEP = """\
lfg_step() { "$@"; lfg_code=$?; echo "$0 $lfg_code"; echo "$0 $lfg_code" >&2; [ "$lfg_code" = 0 ] || exit 0; }
"""


@dataclass(frozen=True)
class Step(Generic[T]):
    """A command and the parser of its answer. The parser raises the step's own error."""

    argv: Sequence[str]
    parse: Callable[[Completed], T]
    stdin: bytes = b""
    """What the command reads. At most one step of a round trip has any."""


class Pending(Generic[T]):
    """What became of a step: its result, or the error that kept it from one."""

    def __init__(self, step: Step[T], *, required: bool) -> None:
        self.step = step
        self.required = required
        self.error: LfgpodsError | None = HostError("the round trip was not sent")
        self._result: T | None = None

    @property
    def result(self) -> T:
        """What the step's parser made of its answer. Raises the error instead, if there is one."""
        if self.error is not None:
            raise self.error
        return self._result  # type: ignore[return-value]

    def settle(self, completed: Completed) -> None:
        """Parse the answer of the step."""
        try:
            self._result, self.error = self.step.parse(completed), None
        except LfgpodsError as error:
            self.error = error


class Steps(tuple[str, ...]):
    """The argument vector of one shell script that runs COMMANDS in turn and frames what they write.

    A host that interprets commands itself reads `commands`, `token` and `stdin_for` instead.
    """

    commands: Sequence[Sequence[str]]
    token: str
    stdin_for: int | None
    """Which of the commands reads stdin."""

    def __new__(cls, commands: Sequence[Sequence[str]], *, stdin_for: int | None = None) -> Steps:
        token = secrets.token_hex(16)
        lines = [
            f"lfg_step {shlex.join(command)}{'' if number == stdin_for else ' </dev/null'}"
            for number, command in enumerate(commands)
        ]
        steps = super().__new__(cls, ("sh", "-c", _STEP + "\n".join(lines), token))
        steps.commands, steps.token, steps.stdin_for = commands, token, stdin_for
        return steps

    def frame(self, exit_code: int) -> str:
        """The line that ends what one command wrote, on each stream."""
        return f"{self.token} {exit_code}\n"

    def sections(self, output: bytes) -> list[tuple[bytes, int]]:
        """What each command wrote to one stream, with its exit code; only those whose frame has come."""
        found = []
        while (end := output.find(self.token.encode())) >= 0:
            line, newline, rest = output[end:].partition(b"\n")
            if not newline:
                break
            found.append((output[:end], int(line.split()[1])))
            output = rest
        return found


class RoundTrip:
    """Steps that travel to a host together. Can be sent again."""

    def __init__(self) -> None:
        self._pending: list[Pending[Any]] = []

    def add(self, step: Step[T], *, required: bool = True) -> Pending[T]:
        """Add STEP behind the others. If it is not REQUIRED, `send` does not raise its error.

        Raises ValueError if it is the second one that reads stdin: the remote command has only one.
        """
        if step.stdin and any(one.step.stdin for one in self._pending):
            raise ValueError("only one step of a round trip can read stdin")
        pending = Pending(step, required=required)
        self._pending.append(pending)
        return pending

    def send(self, host: Host, *, timeout: float) -> None:
        """Run the steps on HOST, in one remote command. Raises the first error of a required step.

        If the host is lost or TIMEOUT seconds pass on the way, the steps that had ended keep their results, and all
        others have that error.
        """
        if len(self._pending) == 1:
            self._send_one(self._pending[0], host, timeout)
            return
        steps, stdin = self._composed()
        stdout, stderr = bytearray(), bytearray()
        lost: LfgpodsError | None = None
        with closing(host.open(steps, ends_with_us=not stdin)) as process:
            try:
                write_stdin(process, stdin)
                read_to_end(process, host, steps.commands, stdout.extend, stderr.extend, timeout=timeout)
            except LfgpodsError as error:
                lost = error
        answers = zip(steps.sections(bytes(stdout)), steps.sections(bytes(stderr)), strict=False)
        first_error: LfgpodsError | None = None
        for one in self._pending:
            if first_error is None and (answer := next(answers, None)) is not None:
                (out, code), (err, _) = answer
                one.settle(Completed(code, out, err))
            else:
                one.error = first_error or lost or _broken_off(host, bytes(stderr))
            first_error = one.error
        for one in self._pending:
            if one.required and one.error is not None:
                raise one.error

    @staticmethod
    def _send_one(one: Pending[Any], host: Host, timeout: float) -> None:
        """A single step needs no frames."""
        try:
            one.settle(run(host, one.step.argv, stdin=one.step.stdin, timeout=timeout))
        except LfgpodsError as error:
            one.error = error
        if one.required and one.error is not None:
            raise one.error

    def _composed(self) -> tuple[Steps, bytes]:
        """The steps as one command, and what that reads."""
        commands = [one.step.argv for one in self._pending]
        for number, one in enumerate(self._pending):
            if one.step.stdin:
                return Steps(commands, stdin_for=number), one.step.stdin
        return Steps(commands), b""


def _broken_off(host: Host, stderr: bytes) -> HostError:
    said = " ".join(stderr.decode(errors="replace").split())[-300:]
    return HostError(
        f"the shell of {host.name} ended before the command did{f': {said}' if said else ''}",
        "Check the login shell of the account, and the host's memory. The same command again finishes what is left.",
        code="bad_answer",
    )
