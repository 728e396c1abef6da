"""Waiting for a pod: when it is re-synced, and when a failure is final."""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from lfgpods.core import operation
from lfgpods.core.errors import KubernetesError, TimeLimitError
from lfgpods.core.objects import Object
from lfgpods.core.operation import Operation
from lfgpods.core.owners import Names
from lfgpods.kube.labels import REVISION
from lfgpods.kube.objects import Deployment, Event, Pod
from lfgpods.pods import rollout
from lfgpods.pods.rollout import wait_ended, wait_ready
from tests.kube_objects import read_as

NAMES = Names("proj-a")


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


class Scene(ABC):
    """A kubectl for one pod. The clock advances by TICK seconds before each event of a watch."""

    tick = 1.0

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.resynced: list[tuple[float, str]] = []
        self.warnings: list[Event] = []
        self.refused_until = 0.0

    @abstractmethod
    def pod(self) -> Pod | None:
        """Return the pod as it is now."""

    def get_pods(self, namespace: str, selector: str) -> list[Pod]:
        pod = self.pod()
        return [pod] if pod else []

    def watch_pods(self, namespace: str, selector: str, timeout: float) -> Iterator[Pod | None]:
        deadline = self.clock.now + timeout
        while self.clock.now < deadline:
            self.clock.now += self.tick
            yield self.pod()

    def get(self, references: Sequence[str], namespace: str) -> list[Deployment]:
        refused = {"type": "ReplicaFailure", "status": "True", "message": "status unknown for quota"}
        conditions = [refused] if self.clock.now < self.refused_until else []
        document = {"metadata": {"name": "d"}, "spec": {"template": {}}, "status": {"conditions": conditions}}
        return [read_as(Deployment, document)]

    def get_warnings(self, namespace: str) -> list[Event]:
        return self.warnings

    def patch(self, reference: str, namespace: str, patch: Object) -> None:
        self.resynced.append((self.clock.now, reference))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(rollout, "time", clock)
    monkeypatch.setattr(operation, "time", clock)
    return clock


def pod(
    *, ready: bool = False, terminating: bool = False, state: str = "waiting", reason: str = "ContainerCreating"
) -> Pod:
    metadata: dict[str, Any] = {"name": "proj-a-dep-x", "annotations": {REVISION: "r"}}
    if terminating:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    status = {
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Ready", "status": "True" if ready else "False"},
        ],
        "containerStatuses": [{"name": "c", "state": {state: {"reason": reason, "exitCode": 0}}}],
    }
    return read_as(Pod, {"metadata": metadata, "spec": {"nodeName": "n"}, "status": status})


def warning(reason: str, message: str) -> Event:
    return read_as(Event, {"metadata": {"name": "e"}, "reason": reason, "message": message})


def ready(scene: Scene, timeout: float = 100.0) -> Pod:
    return wait_ready(scene, NAMES, "r", Operation(timeout))  # type: ignore[arg-type]


def ended(scene: Scene, timeout: float = 100.0) -> None:
    wait_ended(scene, NAMES, (), Operation(timeout))  # type: ignore[arg-type]


@pytest.mark.parametrize(("tick", "within"), [(0.1, 0.9), (1.0, 3.0)])
def test_a_pod_that_does_not_start_is_resynced_soon_and_later_on_a_busy_host(
    clock: Clock, tick: float, within: float
) -> None:
    class Refused(Scene):
        def pod(self) -> Pod:
            return pod(ready=bool(self.resynced))

    scene = Refused(clock)
    scene.tick = tick
    assert ready(scene).metadata.name == "proj-a-dep-x"
    [(moment, reference)] = scene.resynced
    assert (0.6 <= moment <= within, reference) == (True, "pod/proj-a-dep-x")


def test_a_slow_pod_is_resynced_less_and_less_often(clock: Clock) -> None:
    class Slow(Scene):
        def pod(self) -> Pod:
            return pod(ready=self.clock.now > 100)

    scene = Slow(clock)
    scene.tick = 0.2
    assert ready(scene, timeout=200)
    moments = [moment for moment, _ in scene.resynced]
    pauses = [later - earlier for earlier, later in itertools.pairwise(moments)]
    assert 3 <= len(moments) <= 5
    assert pauses == sorted(pauses)


def test_a_failing_pod_is_not_resynced(clock: Clock) -> None:
    class Failing(Scene):
        def pod(self) -> Pod:
            return pod(reason="ErrImagePull")

    scene = Failing(clock)
    with pytest.raises(KubernetesError, match="cannot be pulled"):
        ready(scene)
    assert scene.resynced == []


def test_a_temporary_refusal_is_waited_for_and_a_lasting_one_is_an_error(clock: Clock) -> None:
    class Unmade(Scene):
        def pod(self) -> Pod | None:
            return pod(ready=True) if self.clock.now >= self.refused_until else None

    scene = Unmade(clock)
    scene.refused_until = 6
    assert ready(scene)
    clock.now, scene.refused_until = 0.0, 1000
    with pytest.raises(KubernetesError, match="refuses to make the pod"):
        ready(scene)
    assert clock.now < 20


def test_a_pod_that_does_not_end_is_resynced_until_it_does(clock: Clock) -> None:
    class Forgotten(Scene):
        def pod(self) -> Pod:
            return pod(terminating=True, state="terminated" if len(self.resynced) == 2 else "running")

    scene = Forgotten(clock)
    ended(scene)
    assert len(scene.resynced) == 2
    assert clock.now < 15


def test_the_removal_of_a_pod_that_never_ran_is_noticed_before_the_next_list(clock: Clock) -> None:
    class Vanishing(Scene):
        def pod(self) -> Pod | None:
            return pod(terminating=True) if self.clock.now < 2 else None

        def patch(self, reference: str, namespace: str, patch: Object) -> None:
            super().patch(reference, namespace, patch)
            if self.pod() is None:
                raise KubernetesError("gone", code="not_found")

    scene = Vanishing(clock)
    ended(scene)
    assert len(scene.resynced) == 1
    assert clock.now < rollout.RELIST_AFTER - 2


def test_a_pod_that_never_ends_is_a_time_limit_error(clock: Clock) -> None:
    class Stuck(Scene):
        def pod(self) -> Pod:
            return pod(terminating=True, state="running")

    with pytest.raises(TimeLimitError, match="is still terminating"):
        ended(Stuck(clock), timeout=30)


class Provisioned(Scene):
    """A pod whose volume is provisioned after BOUND_AT seconds."""

    bound_at = 60.0

    def pod(self) -> Pod:
        if self.clock.now >= self.bound_at:
            return pod(ready=True)
        message = "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."
        waiting = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        metadata = {"name": "proj-a-dep-x", "annotations": {REVISION: "r"}}
        return read_as(Pod, {"metadata": metadata, "status": {"phase": "Pending", "conditions": [waiting]}})


def ready_with_volume(scene: Scene, timeout: float = 100.0) -> Pod:
    return wait_ready(scene, NAMES, "r", Operation(timeout), provisioned=True)  # type: ignore[arg-type]


def test_a_slow_provisioner_is_waited_for(clock: Clock) -> None:
    scene = Provisioned(clock)
    scene.warnings = [warning("FailedScheduling", "pod has unbound immediate PersistentVolumeClaims")]
    assert ready_with_volume(scene)
    assert (clock.now >= scene.bound_at, scene.resynced) == (True, [])


def test_a_failing_provisioner_is_an_error_unless_it_succeeds_in_time(clock: Clock) -> None:
    scene = Provisioned(clock)
    scene.warnings = [warning("ProvisioningFailed", "the pool is full")]
    with pytest.raises(KubernetesError, match="the volume cannot be provisioned: the pool is full") as failed:
        ready_with_volume(scene)
    assert (failed.value.code, clock.now < 60) == ("provisioning", True)
    clock.now, scene.bound_at = 0.0, 25.0
    assert ready_with_volume(scene)


def test_a_volume_that_is_never_provisioned_is_a_time_limit_error(clock: Clock) -> None:
    scene = Provisioned(clock)
    scene.bound_at = 1000.0
    with pytest.raises(TimeLimitError, match="the volume is not bound yet"):
        ready_with_volume(scene)
