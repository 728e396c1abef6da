"""Much data out of a pod and into one, through the command line."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.ground import Ground, program
from tests.bench.measuring import Row, Sample, alternate, contender, peak_memory
from tests.bench.rivals import OVER_SSH, exec_words

HOW = (
    "`lfgpods exec` with its output sent to /dev/null, and `lfgpods exec -i` with a file as stdin that `wc -c` counts "
    "in the pod, beside OpenSSH with `kubectl exec`; start and login are part of the time. Memory is the peak of the "
    "lfgpods process (VmHWM)."
)
ROUNDS = 5
BOUND = 0.7
MEMORY = 100.0
LOOK_EVERY = 0.02


def measure(ground: Ground) -> list[Row]:
    pod = ground.pod(ground.lab.images.project)
    environment, nothing = ground.environment(), Path(os.devnull)
    command = program("exec", "--project-id", pod.owner.id)
    pour, count = f"head -c {ground.size} /dev/zero", "wc -c"
    zeros = ground.folder / "zeros"
    with zeros.open("wb") as file:
        file.truncate(ground.size)
    memory = _Memory()

    def ours(line: str, stdin: Path) -> bytes:
        passed_on = ["-i"] if stdin == zeros else []
        return _run([*command, *passed_on, "-c", line], ground.folder, stdin, line == pour, environment, memory)

    def rival(line: str, stdin: Path) -> bytes:
        words = exec_words(pod, *line.split(), stdin=stdin == zeros)
        return _run(ground.ssh("kubectl", *words), ground.folder, stdin, line == pour)

    def counted(answer: bytes) -> None:
        assert int(answer) == ground.size

    rounds = min(ROUNDS, ground.rounds)
    out = alternate(
        [
            contender("lfgpods exec, out of a pod", lambda: ours(pour, nothing)),
            contender(f"{OVER_SSH}, out of a pod", lambda: rival(pour, nothing)),
        ],
        rounds,
        trial=False,
    )
    into = alternate(
        [
            contender("lfgpods exec -i, into a pod", lambda: counted(ours(count, zeros))),
            contender(f"{OVER_SSH}, into a pod", lambda: counted(rival(count, zeros))),
        ],
        rounds,
        trial=False,
    )
    peak = Row(f"memory of lfgpods, {ground.size / 1e6:,.0f} MB out or in", memory.peak, bound=MEMORY, unit="MB")
    return [*_throughput(ground.size, *out), *_throughput(ground.size, *into), peak]


def _throughput(size: int, ours: Sample, rival: Sample) -> list[Row]:
    """In MB/s; the p95 is that of the slow rounds."""

    def row(one: Sample, ratio: float | None = None, bound: float | None = None) -> Row:
        rate, slow = size / 1e6 / one.median, size / 1e6 / one.p95
        return Row(one.name, rate, slow, ratio, bound, at_least=True, unit="MB/s")

    return [row(ours), row(rival, rival.median / ours.median, BOUND)]


def _run(
    argv: Sequence[str],
    folder: Path,
    stdin: Path,
    is_poured_out: bool,
    environment: Mapping[str, str] | None = None,
    memory: _Memory | None = None,
) -> bytes:
    """The stdout of a program, unless it is poured out and nobody counts it. Raises AssertionError where it fails."""
    stdout = subprocess.DEVNULL if is_poured_out else subprocess.PIPE
    with (
        stdin.open("rb") as source,
        subprocess.Popen(
            argv, cwd=folder, stdin=source, stdout=stdout, stderr=subprocess.PIPE, env=environment
        ) as process,
    ):
        if memory:
            memory.watch(process)
        output, errors = process.communicate()
    assert process.returncode == 0, errors
    return output or b""


class _Memory:
    """The most that any watched process had resident, in MB: what the kernel itself keeps, read until the end."""

    def __init__(self) -> None:
        self.peak = 0.0

    def watch(self, process: subprocess.Popen[bytes]) -> None:
        threading.Thread(target=self._watch, args=(process,), daemon=True).start()

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        pause = threading.Event()
        while process.returncode is None:
            try:
                status = Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                return
            self.peak = max(self.peak, peak_memory(status))
            pause.wait(LOOK_EVERY)
