"""The embedded host: what the stand-in costs those who test with it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

from lfgpods import Command, Owner
from lfgpods.testing import embedded_host
from tests.bench.ground import REQUEST, Ground, program
from tests.bench.measuring import Contender, Row, alternate, contender

HOW = (
    "The same calls on the embedded host, which runs a pod as a sandbox on this machine, beside a bare subprocess that "
    "runs the same command. Nothing is promised here."
)
OWNERS = 3


def measure(ground: Ground) -> list[Row]:
    with embedded_host() as lfgpods:
        pods, environment = lfgpods.pods, ground.environment(lfgpods.environment)
        owners = [Owner.project(f"bench-{number}") for number in range(OWNERS)]
        for one in owners:
            pods.ensure(one, REQUEST)
        owner = owners[0]
        names: Iterator[Owner] = (Owner.project(f"bench-new-{number}") for number in range(10_000))

        def cold() -> None:
            ground.run(program("exec", "--project-id", owner.id, "-c", "true"), environment=environment)

        samples = alternate(
            [
                Contender(
                    "create to ready",
                    lambda: next(names),
                    lambda new: pods.ensure(new, REQUEST),
                    lambda new: pods.delete(new, purge=True),
                ),
                contender("lfgpods exec, a new process", cold),
                contender("PodManager.exec", lambda: pods.exec(owner, Command("true"))),
                contender(f"PodManager.list of {OWNERS}", pods.list),
                contender("a bare subprocess: sh -c true", lambda: subprocess.run(["sh", "-c", "true"], check=True)),
            ],
            ground.rounds,
        )
    return [Row(one.name, one.median, one.p95) for one in samples]
