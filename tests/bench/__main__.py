"""`python -m tests.bench`: what create and exec cost on the test cluster, beside kubectl doing the same."""

from __future__ import annotations

import os
import secrets
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from lfgpods import Command, PodManager, Request
from lfgpods.naming import Owner, names_of
from tests.cluster import Cluster
from tests.lab import Images, Lab, host_environment

ROUNDS = 20


def median_of(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    cluster = Cluster(print)
    cluster.up()
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **host_environment(cluster),
            "LFGPODS_IMAGE": Images().small,
            "LFGPODS_DATABASE": os.path.join(folder, "lfgpods.db"),
        }
        measure(Lab(environment, Path(folder), cluster))


def measure(lab: Lab) -> None:
    owners = [Owner.project(f"bench-{secrets.token_hex(3)}-{n}") for n in range(5)]
    request = Request(cpu_requests="10m", memory_requests="16Mi")
    with lab.manager() as manager:
        try:
            waiting = iter(owners)
            created = median_of(lambda: manager.ensure(next(waiting), request), len(owners))
            report(lab, manager, owners[0], created)
        finally:
            for owner in owners:
                manager.delete(owner, purge=True)


def report(lab: Lab, manager: PodManager, owner: Owner, created: float) -> None:
    pod = manager.status(owner)
    assert lab.cluster is not None
    cluster = lab.cluster
    in_pod = ("exec", "-n", names_of(owner).namespace, str(pod.pod_name), "--", "true")
    rows = {
        "create to ready": created,
        "create of a running pod": median_of(lambda: manager.ensure(owner)),
        "exec on an open connection": median_of(lambda: manager.exec(owner, Command("true"))),
        "exec from the shell": median_of(lambda: lab.lfgpods("exec", "--project-id", owner.id, "-c", "true")),
        "kubectl exec on the host": median_of(lambda: cluster.kubectl(*in_pod)),
    }
    for name, seconds in rows.items():
        print(f"{name:30} {seconds * 1000:7.0f} ms")


if __name__ == "__main__":
    main()
