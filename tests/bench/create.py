"""The first create of an owner, until its pod is ready."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from lfgpods import Owner, PodManager, State
from lfgpods.manager import render
from lfgpods.naming import names_of
from lfgpods.output import Format, show_manifests
from tests.bench.ground import REQUEST, Ground, program
from tests.bench.measuring import Contender, Row, alternate, compare, steadiness
from tests.bench.rivals import ON_HOST

HOW = (
    "`PodManager.ensure` by a new manager, its connection included, and `lfgpods create` as a new process, beside "
    "`kubectl apply` of the very manifests that `lfgpods create --dry-run` prints and `kubectl rollout status` (for ten "
    "at once: one apply of all and `kubectl wait`). The rival's volume folders are made beforehand; everything is "
    "purged before the next one begins, outside of the measured time."
)
AT_ONCE = 10
OVER_SSH = "ssh host kubectl apply and rollout status"
BOUND, STEADY = 1.25, 1.5
WITHIN = "--timeout=180s"


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
            creates.of(f"{AT_ONCE} by one kubectl on the host itself", creates.together_on_host, AT_ONCE, True),
        ],
        max(1, ground.rounds // 4),
    )
    return [
        *compare(manager, [on_host], {ON_HOST: BOUND}),
        steadiness(manager, STEADY),
        *compare(command, [over_ssh]),
        *compare(together, [applied], {applied.name: BOUND}),
    ]


class _Creates:
    """Ways to make new owners' pods; each returns once all of them are ready."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._settings = ground.lab.settings(LFGPODS_IMAGE=ground.lab.images.small)
        self._managers: list[PodManager] = []

    def of(
        self, name: str, create: Callable[[Sequence[Owner]], object], owners: int = 1, with_folders: bool = False
    ) -> Contender[list[Owner]]:
        def before() -> list[Owner]:
            made = [self._ground.new_owner() for _ in range(owners)]
            if with_folders:
                folders = [names_of(owner).folder(self._settings.volume_root) for owner in made]
                done = self._ground.lab.on_host("mkdir", "-p", "-m", "0777", *folders)
                assert done.exit_code == 0, done.stderr
            return made

        def after(made: list[Owner]) -> None:
            while self._managers:
                self._managers.pop().close()
            self._ground.purge_all(made)

        return Contender(name, before, create, after)

    def by_manager(self, owners: Sequence[Owner]) -> None:
        manager = PodManager(self._settings)
        self._managers.append(manager)
        with ThreadPoolExecutor(len(owners)) as pool:
            pods = pool.map(lambda owner: manager.ensure(owner, REQUEST), owners)
            assert all(pod.status is State.RUNNING for pod in pods)

    def by_command(self, owners: Sequence[Owner]) -> None:
        requests = ["--cpu-request", str(REQUEST.cpu_requests), "--memory-request", str(REQUEST.memory_requests)]
        for owner in owners:
            argv = program("create", "--project-id", owner.id, "--image", self._ground.lab.images.small, *requests)
            self._ground.run(argv, environment=self._ground.environment())

    def on_host(self, owners: Sequence[Owner]) -> None:
        for owner in owners:
            self._ground.kubectl("apply", "-f", "-", stdin=self._manifests([owner]))
            self._ground.kubectl(*self._rollout(owner))

    def over_ssh(self, owners: Sequence[Owner]) -> None:
        for owner in owners:
            script = f"kubectl apply -f - && {shlex.join(['kubectl', *self._rollout(owner)])}"
            self._ground.run(self._ground.ssh("sh", "-c", script), stdin=self._manifests([owner]))

    def together_on_host(self, owners: Sequence[Owner]) -> None:
        self._ground.kubectl("apply", "-f", "-", stdin=self._manifests(owners))
        available = ("wait", "--for=condition=Available", WITHIN, "-f", "-")
        self._ground.kubectl(*available, stdin=self._manifests(owners, "Deployment"))

    def _rollout(self, owner: Owner) -> list[str]:
        names = names_of(owner)
        return ["rollout", "status", f"deployment/{names.deployment}", "-n", names.namespace, WITHIN]

    def _manifests(self, owners: Sequence[Owner], kind: str | None = None) -> bytes:
        """What `create --dry-run -o yaml` prints for OWNERS; of one KIND only, where it is given."""
        objects = [found for owner in owners for found in render(self._settings, owner, REQUEST)]
        return show_manifests([one for one in objects if kind in (None, one["kind"])], Format.YAML).encode()
