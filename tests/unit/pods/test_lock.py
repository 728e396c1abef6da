"""When a lock may be taken over: never from a holder that renews it, whatever the clocks say."""

from __future__ import annotations

import copy
import itertools
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from lfgpods.core import operation, processes
from lfgpods.core.errors import HostError, KubernetesError, TimeLimitError
from lfgpods.core.objects import Object
from lfgpods.core.operation import Operation
from lfgpods.core.owners import Names
from lfgpods.hosts.base import Completed
from lfgpods.hosts.local import LocalHost, LocalProcess
from lfgpods.hosts.round_trip import Step, Steps
from lfgpods.kube.objects import KubeObject, Lease, Namespace
from lfgpods.pods import lock as locks
from lfgpods.pods.lock import HOLDER, PROCESS, OwnerLock, is_orphan
from tests.kube_objects import read_as

NAMES = Names("proj-a")
FOUND = read_as(Namespace, {"metadata": {"name": "found"}})
ELSEWHERE = "another-boot:4026531836:12:34"


class EveryStepSucceeds(LocalHost):
    """A host where each step of a round trip exits with 0."""

    def open(self, argv: Sequence[str], *, ends_with_us: bool = False) -> LocalProcess:
        if isinstance(argv, Steps):
            frames = "".join(argv.frame(0) for _ in argv.commands)
            argv = ("sh", "-c", 'printf %s "$1"; printf %s "$1" >&2', "sh", frames)
        return super().open(argv, ends_with_us=ends_with_us)


class OneLease:
    """A kubectl with one Lease. Before each read, runs the next function of ON_GET."""

    host = EveryStepSucceeds()

    def __init__(self) -> None:
        self.lease: Object | None = None
        self.versions = itertools.count(1)
        self.on_get: list[Any] = []
        self.failure: Exception | None = None

    def create_step(self, obj: Object) -> Step[KubeObject]:
        return Step(("create",), lambda _: self.create(obj))

    def create(self, obj: Object) -> KubeObject:
        if self.lease is not None:
            raise KubernetesError("there", code="already_exists")
        self._put(obj)
        if self.failure:
            raise self.failure
        return self.read()

    def get_step(self, references: Sequence[str], namespace: str) -> Step[list[KubeObject]]:
        return Step(("get",), lambda _: self.get(references, namespace))

    def get(self, references: Sequence[str], namespace: str) -> list[KubeObject]:
        if references != ["lease/lfgpods-proj-a"]:
            return [FOUND]
        if self.on_get:
            self.on_get.pop(0)()
        return [self.read()] if self.lease else []

    def patch(self, reference: str, namespace: str, patch: Object) -> KubeObject:
        if self.lease is None:
            raise KubernetesError("gone", code="not_found")
        if patch["metadata"]["resourceVersion"] != self.lease["metadata"]["resourceVersion"]:
            raise KubernetesError("changed", code="conflict")
        for part, change in patch.items():
            if isinstance(change, dict):
                self.lease.setdefault(part, {}).update(change)
        self._put(self.lease)
        return self.read()

    def delete_selected(self, kind: str, namespace: str, selector: str) -> None:
        if self.lease and f"{HOLDER}={self.lease['metadata']['labels'][HOLDER]}" == selector:
            self.lease = None

    def delete_selected_step(self, kind: str, namespace: str, selector: str) -> Step[None]:
        def parse(completed: Completed) -> None:
            if completed.exit_code:
                raise KubernetesError("refused", code="forbidden")
            self.delete_selected(kind, namespace, selector)

        return Step(("delete",), parse)

    def hold(self, process: str = ELSEWHERE) -> None:
        metadata = {"name": "lfgpods-proj-a", "labels": {HOLDER: "them"}, "annotations": {PROCESS: process}}
        spec = {"holderIdentity": "them", "leaseDurationSeconds": 20}
        self._put({"kind": "Lease", "metadata": metadata, "spec": spec})

    def renew(self) -> None:
        assert self.lease is not None
        self._put(self.lease)

    def read(self) -> Lease:
        return read_as(Lease, self.lease or {})

    def _put(self, obj: Object) -> None:
        self.lease = copy.deepcopy(obj)
        self.lease["metadata"]["resourceVersion"] = str(next(self.versions))


class Clock:
    """A clock that advances by a second each time it is read."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        self.now += 1.0
        return self.now


@pytest.fixture
def kubectl() -> OneLease:
    return OneLease()


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(locks, "time", clock)
    monkeypatch.setattr(operation, "time", clock)
    monkeypatch.setattr(locks, "_POLL", (0.0,))
    monkeypatch.setattr(locks, "RELEASE_GRACE", 0.0)
    return clock


def lock_on(kubectl: OneLease, timeout: float = 500.0) -> OwnerLock:
    return OwnerLock(kubectl, NAMES, Operation(timeout), namespace="default")  # type: ignore[arg-type]


def test_a_free_lock_is_taken_and_released(kubectl: OneLease) -> None:
    lock = lock_on(kubectl)
    assert lock.take(["pod/x"]) == [FOUND]
    assert kubectl.lease is not None
    lock.check()
    lock.release()
    assert kubectl.lease is None
    with pytest.raises(KubernetesError, match="lost"):
        lock.check()


def test_a_renewed_lock_is_waited_for_and_never_taken_over(kubectl: OneLease) -> None:
    kubectl.hold()
    kubectl.on_get = [kubectl.renew] * 1000
    with pytest.raises(TimeLimitError, match="them is still changing proj-a"):
        lock_on(kubectl, timeout=300.0).take(["pod/x"])
    assert kubectl.read().metadata.labels[HOLDER] == "them"


def test_a_lock_without_renewals_is_taken_over_after_its_duration(kubectl: OneLease, clock: Clock) -> None:
    kubectl.hold()
    start = clock.now
    lock = lock_on(kubectl)
    assert lock.take(["pod/x"]) == [FOUND]
    assert clock.now - start > 20
    lock.release()
    assert kubectl.lease is None


def test_only_one_of_two_callers_takes_over_a_lock(kubectl: OneLease, monkeypatch: pytest.MonkeyPatch) -> None:
    home = processes.this_process().rpartition(":")[0].rpartition(":")[0]
    kubectl.hold(f"{home}:999999999:1")
    kubectl.on_get = [lambda: None] + [kubectl.renew] * 1000
    patch = kubectl.patch

    def too_late(reference: str, namespace: str, change: Object) -> KubeObject:
        kubectl.hold()
        return patch(reference, namespace, change)

    monkeypatch.setattr(kubectl, "patch", too_late)
    with pytest.raises(TimeLimitError):
        lock_on(kubectl, timeout=100.0).take(["pod/x"])


def test_a_lock_that_comes_and_goes_is_a_time_limit_error(kubectl: OneLease) -> None:
    def always_there(*_: object, **__: object) -> Any:
        raise KubernetesError("there", code="already_exists")

    kubectl.create = always_there  # type: ignore[method-assign]
    with pytest.raises(TimeLimitError):
        lock_on(kubectl, timeout=50.0).take(["pod/x"])


def test_a_late_answer_does_not_extend_the_lock(kubectl: OneLease, clock: Clock) -> None:
    create = kubectl.create

    def slowly(*arguments: Any, **options: Any) -> Any:
        made = create(*arguments, **options)
        clock.now += 25
        return made

    kubectl.create = slowly  # type: ignore[method-assign]
    lock = lock_on(kubectl)
    lock.take(["pod/x"])
    with pytest.raises(KubernetesError, match="lost"):
        lock.check()
    lock.release()


def test_a_renewal_after_the_release_is_no_error(
    kubectl: OneLease, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    renewing, given_back = threading.Event(), threading.Event()

    def too_late(*_: object) -> Any:
        renewing.set()
        given_back.wait(5)
        raise KubernetesError("gone", code="not_found")

    monkeypatch.setattr(locks, "RENEW_EVERY", 0.0)
    monkeypatch.setattr(locks, "RELEASE_GRACE", 5.0)
    monkeypatch.setattr(kubectl, "patch", too_late)
    lock = lock_on(kubectl)
    lock.take(["pod/x"])
    assert renewing.wait(5)
    given_back.set()
    lock.release_step().parse(Completed(0, b"", b""))
    lock.release()
    assert caplog.messages == []


def test_a_lock_released_by_its_step_is_not_released_again(kubectl: OneLease) -> None:
    lock = lock_on(kubectl)
    lock.take(["pod/x"])
    lock.release_step().parse(Completed(0, b"", b""))
    assert kubectl.lease is None
    with pytest.raises(KubernetesError, match="lost"):
        lock.check()
    kubectl.hold()  # now another caller's
    lock.release()
    assert kubectl.lease is not None


def test_a_lock_is_still_held_if_its_release_step_fails(kubectl: OneLease) -> None:
    lock = lock_on(kubectl)
    lock.take(["pod/x"])
    with pytest.raises(KubernetesError, match="refused"):
        lock.release_step().parse(Completed(1, b"", b""))
    lock.check()
    assert not is_orphan(kubectl.read())
    lock.release()
    assert kubectl.lease is None


def test_a_lock_taken_over_by_another_caller_is_lost_and_not_deleted(kubectl: OneLease, clock: Clock) -> None:
    lock = lock_on(kubectl)
    lock.take(["pod/x"])
    kubectl.hold()
    clock.now += 100
    with pytest.raises(KubernetesError, match="lost"):
        lock.check()
    lock.release()
    assert kubectl.lease is not None


def test_a_lock_left_by_an_error_in_this_process_is_taken_over_at_once(kubectl: OneLease, clock: Clock) -> None:
    kubectl.failure = HostError("the link was cut", code="host_lost")
    with pytest.raises(HostError):
        lock_on(kubectl).take(["pod/x"])
    kubectl.failure = None
    start = clock.now
    lock = lock_on(kubectl)
    lock.take(["pod/x"])
    assert clock.now - start < 20
    assert not is_orphan(kubectl.read())
    lock.release()


def test_a_lock_of_an_unknown_holder_is_no_orphan(kubectl: OneLease) -> None:
    for process in (ELSEWHERE, "", "nonsense", "unknown:1:abc"):
        kubectl.hold(process)
        assert not is_orphan(kubectl.read())
