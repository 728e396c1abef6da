"""An exec from Python by a manager that is in use: a shell in the pod is open already."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor

from lfgpods import Command, ExecResult, Pod
from tests.bench.ground import Ground
from tests.bench.measuring import Row, alternate, compare, contender
from tests.bench.rivals import KR8S, ON_HOST, PYTHON_CLIENT, exec_words, kr8s_client, python_client

HOW = (
    "`PodManager.exec` on a manager that has run a command in the pod before, in images with busybox and with Debian, "
    "beside kubectl on the host itself and the exec of two Python clients, each made once. "
    "The absolute bound is the project's own."
)
BOUND = 1 / 25
SECONDS = 0.005
THREADS, COMMANDS = 100, 10


def measure(ground: Ground) -> list[Row]:
    images = {"busybox": ground.lab.images.small, "Debian": ground.lab.images.project}
    return [row for name, image in images.items() for row in _in_image(ground, name, ground.pod(image))]


def _in_image(ground: Ground, name: str, pod: Pod) -> list[Row]:
    stdin, output = b"x" * 1000, "head -c 65536 /dev/zero"
    on_host, client, kr8s = (f"{rival}, {name}" for rival in (ON_HOST, PYTHON_CLIENT, KR8S))

    def run(line: str, given: bytes | None = None) -> ExecResult:
        result = ground.manager.exec(pod.owner, Command(line), stdin=io.BytesIO(given) if given else None)
        assert result.exit_code == 0
        return result

    def echoes() -> None:
        assert run("cat", stdin).stdout == stdin

    def pours() -> None:
        assert len(run(output).stdout) == 65536

    ours, echoing, pouring, *rivals = alternate(
        [
            contender(f"PodManager.exec, {name}", lambda: run("true")),
            contender(f"with 1,000 bytes of stdin, {name}", echoes),
            contender(f"with 64 KiB of output, {name}", pours),
            contender(on_host, lambda: ground.kubectl(*exec_words(pod, "true"))),
            contender(client, python_client(pod, ["true"])),
            contender(kr8s, kr8s_client(pod, ["true"])),
        ],
        ground.rounds,
    )
    first, *others = compare(ours, rivals, {on_host: BOUND})
    return [
        Row(first.what, first.figure, first.p95, bound=SECONDS),
        *others,
        *(Row(one.name, one.median, one.p95) for one in (echoing, pouring)),
        _crowd(ground, name, pod),
    ]


def _crowd(ground: Ground, name: str, pod: Pod) -> Row:
    """Many threads on one manager, with each answer checked to be the one that belongs to the question."""

    def use(thread: int) -> None:
        for number in range(COMMANDS):
            text, code = f"{thread}-{number}", thread % 100
            result = ground.manager.exec(pod.owner, Command(f"echo {text}; echo e{text} >&2; exit {code}"))
            found = (result.exit_code, result.stdout, result.stderr)
            assert found == (code, f"{text}\n".encode(), f"e{text}\n".encode()), found

    start = time.perf_counter()
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(use, range(THREADS)))
    rate = THREADS * COMMANDS / (time.perf_counter() - start)
    return Row(f"{THREADS} threads, {COMMANDS} commands each, {name}", rate, unit="commands/s")
