"""An exec by a process that hands its command line to a keeper."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from tests.bench.ground import Ground, program
from tests.bench.measuring import Row, alternate, compare, contender
from tests.bench.rivals import OVER_OPEN_SSH, OVER_SSH, exec_words
from tests.waiting import eventually

HOW = (
    "`LFGPODS_KEEP=10m lfgpods exec -c true` as a new process while a keeper runs, which has the connection and a "
    "shell in the pod, beside OpenSSH as in exec-cold."
)


def measure(ground: Ground) -> list[Row]:
    pod = ground.pod(ground.lab.images.small)
    words = exec_words(pod, "true")
    argv = program("exec", "--project-id", pod.owner.id, "-c", "true")
    with _keeper(ground, argv) as kept, ground.ssh.kept_open(ground.folder / "control") as open_ssh:
        ours, *rivals = alternate(
            [
                contender("lfgpods exec with a keeper", lambda: ground.run(argv, environment=kept)),
                contender(OVER_SSH, lambda: ground.run(ground.ssh("kubectl", *words))),
                contender(OVER_OPEN_SSH, lambda: ground.run(open_ssh("kubectl", *words))),
            ],
            ground.rounds,
        )
    return compare(ours, rivals, {OVER_SSH: 1 / 4})


@contextmanager
def _keeper(ground: Ground, argv: list[str]) -> Iterator[Mapping[str, str]]:
    """The environment in which ARGV is handed to a keeper that runs; it has ended afterwards."""
    environment = {**ground.environment(), "LFGPODS_KEEP": "10m"}

    def runs() -> bytes:
        return ground.run(program("keeper", "status"), environment=environment)

    try:
        ground.run(argv, environment=environment)
        eventually(runs)
        yield environment
    finally:
        ground.run(program("keeper", "stop"), environment=environment)
        eventually(lambda: not runs())
