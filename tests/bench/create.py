"""The first create of an owner, until its pod is ready."""

from __future__ import annotations

import itertools
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from lfgpods import Owner, PodManager, State
from lfgpods.cli.output import Format, show_manifests
from lfgpods.pods.lifecycle import render
from tests.bench.ground import REQUEST, Ground, program
from tests.bench.measuring import Contender, Row, alternate, compare, steadiness
from tests.bench.rivals import ON_HOST

HOW = (
    "`PodManager.ensure` by a new manager, its connection included, and `lfgpods create` as a new process, beside "
    "`kubectl apply` of the very manifests that `lfgpods create --dry-run` prints and `kubectl rollout status` (for ten "
    "at once: one apply of all and `kubectl wait`). The rival's volume folders are made beforehand, and everything "
    "is purged before the next round, outside of the measured time. kubelet looks at its containers once a second, so "
    "that up to a second of any create is waiting for its next look; the creates of each begin at the same moments of "
    "that second, spread evenly over it."
)
AT_ONCE = 10
OVER_SSH = "ssh host kubectl apply and rollout status"
BOUND, STEADY = 1.25, 1.5
WITHIN = "--timeout=180s"
KUBELET_LOOKS_EVERY = 1.0
"""Seconds. What ends with a ready pod ends with such a look, and what begins right then has the phase of the one before."""
GOLDEN_RATIO = (5**0.5 - 1) / 2


def measure(ground: Ground) -> list[Row]:
    creates = _Creates(ground)
    manager, command, on_host, over_ssh = alternate(
        [
            creates.of("PodManager.ensure", creates.by_manager),
            creates.of("lfgpods create", creates.by_command),
            creates.of(ON_HOST, creates.on_host, with_folders=True),
            creates.of(OVER_SSH, creates.over_ssh, with_folders=True),
        ],
        ground.rounds,
    )
    together, applied = alternate(
        [
            creates.of(f"{AT_ONCE} at once by one manager", creates.by_manager, AT_ONCE),
            creates.of(
                f"{AT_ONCE} by one kubectl on the host itself", creates.together_on_host, AT_ONCE, with_folders=True
            ),
        ],
        ground.rounds,
    )
    return [
        *compare(manager, [on_host], {ON_HOST: BOUND}),
        steadiness(manager, STEADY),
        *compare(command, [over_ssh], {OVER_SSH: BOUND}),
        *compare(together, [applied], {applied.name: BOUND}),
    ]


def moments_between_looks() -> Iterator[float]:
    """Seconds after a look of kubelet's, spread evenly up to the next however many are taken.

    A median of twenty random ones would differ by a tenth of a second from the next such median.
    """
    return (number * GOLDEN_RATIO % 1 * KUBELET_LOOKS_EVERY for number in itertools.count())


@dataclass(frozen=True)
class _New:
    """Owners that never were, a manager without a connection, and what `create --dry-run -o yaml` prints for them."""

    owners: Sequence[Owner]
    manager: PodManager
    manifests: bytes
    deployments: bytes
    """Only those, to wait for."""


class _Creates:
    """Ways to make new owners' pods; each returns once all of them are ready."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._settings = ground.lab.settings(LFGPODS_IMAGE=ground.lab.images.small)

    def of(
        self, name: str, create: Callable[[_New], object], owners: int = 1, *, with_folders: bool = False
    ) -> Contender[_New]:
        moments = moments_between_looks()

        def before() -> _New:
            new = self._new(owners)
            if with_folders:
                folders = [owner.names.folder(self._settings.volume_root) for owner in new.owners]
                done = self._ground.lab.on_host("mkdir", "-p", "-m", "0777", *folders)
                assert done.exit_code == 0, done.stderr
            time.sleep(next(moments))
            return new

        def after(new: _New) -> None:
            self._ground.purge_all(new.owners)
            new.manager.close()

        return Contender(name, before, create, after)

    def by_manager(self, new: _New) -> None:
        with ThreadPoolExecutor(len(new.owners)) as pool:
            pods = pool.map(lambda owner: new.manager.ensure(owner, REQUEST), new.owners)
            assert all(pod.status is State.RUNNING for pod in pods)

    def by_command(self, new: _New) -> None:
        requests = ["--cpu-request", str(REQUEST.cpu_requests), "--memory-request", str(REQUEST.memory_requests)]
        argv = program("create", *_option(new), "--image", self._ground.lab.images.small, *requests)
        self._ground.run(argv, environment=self._ground.environment())

    def on_host(self, new: _New) -> None:
        self._ground.kubectl("apply", "-f", "-", stdin=new.manifests)
        self._ground.kubectl(*_rollout(new))

    def over_ssh(self, new: _New) -> None:
        script = f"kubectl apply -f - && {shlex.join(['kubectl', *_rollout(new)])}"
        self._ground.run(self._ground.ssh("sh", "-c", script), stdin=new.manifests)

    def together_on_host(self, new: _New) -> None:
        self._ground.kubectl("apply", "-f", "-", stdin=new.manifests)
        self._ground.kubectl("wait", "--for=condition=Available", WITHIN, "-f", "-", stdin=new.deployments)

    def _new(self, count: int) -> _New:
        owners = [self._ground.new_owner() for _ in range(count)]
        objects = [found for owner in owners for found in render(self._settings, owner, REQUEST)]
        deployments = [one for one in objects if one["kind"] == "Deployment"]
        manifests, waited_for = (show_manifests(some, Format.YAML).encode() for some in (objects, deployments))
        return _New(owners, PodManager(self._settings), manifests, waited_for)


def _option(new: _New) -> list[str]:
    (owner,) = new.owners
    return ["--project-id", owner.id]


def _rollout(new: _New) -> list[str]:
    (owner,) = new.owners
    names = owner.names
    return ["rollout", "status", f"deployment/{names.deployment}", "-n", names.namespace, WITHIN]
