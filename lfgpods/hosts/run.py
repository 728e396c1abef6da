"""Run commands on a host to completion, one at a time or several in parallel."""

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

MAX_OUTPUT = 256 << 20
"""In bytes. A list of 3,000 pods is about 16 MiB."""
MAX_PARALLEL = 4
"""How many commands one caller may run at once. Other callers use the remaining channels."""
_CANCEL_POLL = 0.5
"""Seconds until a cancelled command is noticed."""


def run(host: Host, argv: Sequence[str], *, stdin: bytes = b"", timeout: float = 60.0) -> Completed:
    """Run a command on HOST and return its result. STDIN is for kilobytes, not for bulk data.

    Raises TimeLimitError after TIMEOUT seconds, and HostError if the host is lost or the output exceeds MAX_OUTPUT.
    """
    stdout, stderr = bytearray(), bytearray()
    with closing(host.open(argv, ends_with_us=not stdin)) as process:
        write_stdin(process, stdin)
        code = read_to_end(process, host, (argv,), stdout.extend, stderr.extend, timeout=timeout)
    return Completed(code, bytes(stdout), bytes(stderr))


def write_stdin(process: Process, stdin: bytes) -> None:
    """Send STDIN and close it. Does nothing if STDIN is empty."""
    if stdin:
        with suppress(BrokenPipeError):  # the exit code and stderr tell why
            process.write(stdin)
        process.close_stdin()


@dataclass(frozen=True)
class Stream:
    """A command whose stdout goes to ON_STDOUT chunk by chunk, in the command's own thread."""

    argv: Sequence[str]
    on_stdout: Callable[[bytes], object]


def run_parallel(host: Host, streams: Sequence[Stream], *, timeout: float, idle_timeout: float) -> list[Completed]:
    """Run STREAMS, at most MAX_PARALLEL at once. The results have no stdout.

    Raises the first error and cancels the other streams: TimeLimitError after TIMEOUT seconds or after IDLE_TIMEOUT
    seconds without output, HostError as `run` does, and any error of ON_STDOUT.
    """
    cancelled = threading.Event()

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
                idle_timeout=idle_timeout,
                cancelled=cancelled,
            )
            return Completed(code, b"", bytes(stderr))

    with ThreadPoolExecutor(min(len(streams), MAX_PARALLEL), "lfgpods-stream") as pool:
        try:
            return list(pool.map(run_one, streams))
        finally:
            cancelled.set()
            pool.shutdown(wait=False, cancel_futures=True)


def read_to_end(
    process: Process,
    host: Host,
    commands: Sequence[Sequence[str]],
    on_stdout: Callable[[bytes], object],
    on_stderr: Callable[[bytes], object],
    *,
    timeout: float,
    idle_timeout: float = float("inf"),
    cancelled: threading.Event | None = None,
) -> int:
    """Read the output of PROCESS, which runs COMMANDS, until it ends. Returns its exit code.

    Raises TimeLimitError after TIMEOUT seconds, or IDLE_TIMEOUT seconds without output. Raises HostError if the host
    is lost, the output exceeds MAX_OUTPUT, or CANCELLED is set.
    """
    start = heard = time.monotonic()
    name, size = commands[-1][0], 0
    while True:
        left = min(start + timeout, heard + idle_timeout) - time.monotonic()
        output = process.read(left if cancelled is None else min(left, _CANCEL_POLL))
        now = time.monotonic()
        if output.stdout or output.stderr:
            heard = now
        size += len(output.stdout) + len(output.stderr)
        if size > MAX_OUTPUT:
            raise HostError(
                f"{name} on {host.name} wrote more than {MAX_OUTPUT >> 20} MiB",
                "Check LFGPODS_KUBECTL: that program does not behave like kubectl.",
                code="bad_answer",
            )
        on_stderr(output.stderr)
        if output.stdout:
            on_stdout(output.stdout)
        code = process.exit_code
        if output.ended and code is not None:
            log.debug("%.3f s, exit code %d: %s", now - start, code, _shown(commands))
            return code
        if output.ended or (cancelled is not None and cancelled.is_set()):
            raise HostUnreachableError(
                f"{name} on {host.name} ended without an exit code: the connection was lost or the process was killed",
                "It may have done part of its work. Run the same command again to finish it.",
                code="host_lost",
            )
        if now >= min(start + timeout, heard + idle_timeout):
            took = (
                f"took more than {timeout:g} s" if now >= start + timeout else f"wrote nothing for {idle_timeout:g} s"
            )
            raise TimeLimitError(
                f"{name} on {host.name} {took}",
                "The host or its cluster may be overloaded. Try again, or check it with kubectl get nodes.",
            )


def _shown(commands: Sequence[Sequence[str]]) -> str:
    """Return the commands for a log line, without the text of scripts."""
    return " && ".join(" ".join("(script)" if "\n" in word else word for word in command) for command in commands)
