"""Run commands on a host to their end, one at a time or several side by side."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass

from lfgpods.core.errors import HostError, HostUnreachableError, TimeLimitError
from lfgpods.hosts.base import Completed, Host, Process

log = logging.getLogger(__name__)


LONGEST_ANSWER = 256 << 20
"""Bytes. A list of 3,000 pods is about 16 MiB."""
SIDE_BY_SIDE = 4
"""How many commands one caller may run at once; the rest of the connection's channels are for others."""
_GIVEN_UP_WITHIN = 0.5


def run(host: Host, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> Completed:
    """Run a command on HOST to its end. STDIN is meant for kilobytes, not for bulk.

    Raises TimeLimitError after TIMEOUT seconds, and HostError if the host is lost or answers without end.
    """
    stdout, stderr = bytearray(), bytearray()
    with closing(host.open(argv, ends_with_us=not stdin)) as process:
        write_stdin(process, stdin)
        code = read_to_end(process, host, (argv,), stdout.extend, stderr.extend, timeout=timeout)
    return Completed(code, bytes(stdout), bytes(stderr))


def write_stdin(process: Process, stdin: bytes) -> None:
    """Send all of STDIN and its end, if there is any."""
    if stdin:
        with suppress(BrokenPipeError):  # the exit code and stderr say why it takes no more
            process.write(stdin)
        process.close_stdin()


@dataclass(frozen=True)
class Stream:
    """A command whose stdout is given to ON_STDOUT as it comes, in a thread of its own."""

    argv: Sequence[str]
    on_stdout: Callable[[bytes], object]


def run_side_by_side(host: Host, streams: Sequence[Stream], *, timeout: float, silence: float) -> list[Completed]:
    """Run each of STREAMS to its end, a few at a time; their Completed have no stdout.

    Raises what the first of them raises: TimeLimitError where one takes TIMEOUT seconds, or says nothing for SILENCE
    seconds, HostError as `run` does, and whatever its ON_STDOUT raises. The others are given up then.
    """
    given_up = threading.Event()

    def run_one(stream: Stream) -> Completed:
        with closing(host.open(stream.argv, ends_with_us=True)) as process:
            stderr = bytearray()
            code = read_to_end(
                process,
                host,
                (stream.argv,),
                stream.on_stdout,
                stderr.extend,
                timeout=timeout,
                silence=silence,
                given_up=given_up,
            )
            return Completed(code, b"", bytes(stderr))

    with ThreadPoolExecutor(min(len(streams), SIDE_BY_SIDE), "lfgpods-stream") as pool:
        try:
            return list(pool.map(run_one, streams))
        finally:
            given_up.set()
            pool.shutdown(wait=False, cancel_futures=True)


def read_to_end(
    process: Process,
    host: Host,
    commands: Sequence[Sequence[str]],
    on_stdout: Callable[[bytes], object],
    on_stderr: Callable[[bytes], object],
    *,
    timeout: float,
    silence: float = float("inf"),
    given_up: threading.Event | None = None,
) -> int:
    """Read the output of PROCESS, which runs COMMANDS, until it ends. Returns its exit code.

    Raises TimeLimitError after TIMEOUT seconds, or SILENCE seconds without output, and HostError if the host is lost,
    answers without end, or GIVEN_UP is set.
    """
    start = heard = time.monotonic()
    name, size = commands[-1][0], 0
    while True:
        left = min(start + timeout, heard + silence) - time.monotonic()
        output = process.read(left if given_up is None else min(left, _GIVEN_UP_WITHIN))
        now = time.monotonic()
        if output.stdout or output.stderr:
            heard = now
        size += len(output.stdout) + len(output.stderr)
        if size > LONGEST_ANSWER:
            raise HostError(
                f"{name} on {host.name} wrote more than {LONGEST_ANSWER >> 20} MiB",
                "Check LFGPODS_KUBECTL: what is called there does not answer as kubectl does.",
                code="bad_answer",
            )
        on_stderr(output.stderr)
        if output.stdout:
            on_stdout(output.stdout)
        code = process.exit_code
        if output.ended and code is not None:
            log.debug("%.3f s, exit code %d: %s", now - start, code, _shown(commands))
            return code
        if output.ended or (given_up is not None and given_up.is_set()):
            raise HostUnreachableError(
                f"{name} on {host.name} ended without an exit code: the connection was lost, or it was killed",
                "It may have done its work or not; the same command again finishes what is left.",
                code="host_lost",
            )
        if now >= min(start + timeout, heard + silence):
            took = f"took more than {timeout:g} s" if now >= start + timeout else f"said nothing for {silence:g} s"
            raise TimeLimitError(
                f"{name} on {host.name} {took}",
                "The host or its cluster may be overloaded; try again, or look at it with kubectl get nodes.",
            )


def _shown(commands: Sequence[Sequence[str]]) -> str:
    """The commands as a person reads them; a script of many lines is only named."""
    return " && ".join(" ".join("(script)" if "\n" in word else word for word in command) for command in commands)
