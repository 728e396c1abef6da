"""What pods' conditions mean; the statuses are those of a real 1.20 cluster, shortened."""

from __future__ import annotations

from typing import Any

import pytest

from lfgpods.core.objects import Object
from lfgpods.core.pod import State
from lfgpods.kube.diagnosis import diagnose, has_ended, newest_pod, replica_failure
from lfgpods.kube.labels import REVISION
from lfgpods.pods.objects import OwnerObjects
from lfgpods.pods.status import state_of


def pod(name: str = "p", *, going: bool = False, created: str = "2026-01-01T00:00:00Z", **status: Any) -> Object:
    metadata: dict[str, Any] = {"name": name, "creationTimestamp": created, "annotations": {REVISION: "r1"}}
    if going:
        metadata["deletionTimestamp"] = created
    return {"kind": "Pod", "metadata": metadata, "status": {"phase": "Pending", **status}}


SCHEDULED = {"type": "PodScheduled", "status": "True"}
READY = pod(phase="Running", conditions=[SCHEDULED, {"type": "Ready", "status": "True"}])


def waiting(reason: str, message: str = "", last: Object | None = None) -> Object:
    container = {
        "image": "busybox",
        "state": {"waiting": {"reason": reason, "message": message}},
        "lastState": last or {},
    }
    return pod(conditions=[SCHEDULED], containerStatuses=[container])


def unschedulable(message: str) -> Object:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(conditions=[condition])


@pytest.mark.parametrize(
    ("broken", "code", "final"),
    [
        (waiting("InvalidImageName"), "image_pull", True),
        (waiting("ErrImageNeverPull"), "image_pull", True),
        (waiting("ErrImagePull", "no such host"), "image_pull", False),
        (waiting("ImagePullBackOff"), "image_pull", False),
        (waiting("CreateContainerConfigError"), "container_config", True),
        (
            waiting("CrashLoopBackOff", last={"terminated": {"exitCode": 1, "reason": "Error"}}),
            "container_crash",
            False,
        ),
        (unschedulable("0/1 nodes are available: 1 Insufficient cpu."), "unschedulable", False),
        (unschedulable("1 pod has unbound immediate PersistentVolumeClaims."), "unbound_claim", False),
        (pod(phase="Failed", reason="Evicted", message="low on memory"), "evicted", False),
    ],
)
def test_what_keeps_a_pod_from_running_has_a_cause_and_a_remedy(broken: Object, code: str, final: bool) -> None:
    diagnosis = diagnose(broken)
    assert not diagnosis.ready
    assert diagnosis.error is not None
    assert (diagnosis.error.code, diagnosis.final) == (code, final)
    assert diagnosis.error.hint


def test_the_details_of_kubernetes_reach_the_message() -> None:
    crash = diagnose(waiting("CrashLoopBackOff", last={"terminated": {"exitCode": 7, "reason": "Error"}})).error
    assert "exit code 7" in str(crash)
    long = diagnose(waiting("ErrImagePull", "x" * 1000 + "\nsecond line")).error
    assert "\n" not in str(long)
    assert len(str(long)) < 450


def test_what_may_still_come_is_no_error() -> None:
    assert diagnose(READY).ready
    for starting in (pod(), waiting("ContainerCreating"), pod(going=True), {"metadata": {"name": "p"}}):
        diagnosis = diagnose(starting)
        assert (diagnosis.ready, diagnosis.error) == (False, None)
        assert diagnosis.step


def test_the_pod_that_counts_is_the_living_one_of_the_revision() -> None:
    evicted = pod("evicted", phase="Failed", created="2026-01-03T00:00:00Z")
    ending = pod("ending", going=True, created="2026-01-02T00:00:00Z")
    assert newest_pod([evicted, READY, ending]) is READY
    assert newest_pod([evicted, ending]) is evicted
    assert newest_pod([READY], "r2") is None
    assert newest_pod([]) is None


def test_a_pod_has_ended_when_it_is_going_and_nothing_runs() -> None:
    ended = {"state": {"terminated": {"exitCode": 0}}}
    assert has_ended(pod(going=True, containerStatuses=[ended]))
    assert not has_ended(pod(going=True, containerStatuses=[ended, {"state": {"running": {}}}]))
    sidecars = [ended, {"state": {"running": {}}}]
    assert not has_ended(pod(going=True, containerStatuses=[ended], initContainerStatuses=sidecars))
    assert has_ended(pod(going=True, containerStatuses=[ended], initContainerStatuses=[ended]))
    assert not has_ended(pod(going=False, containerStatuses=[ended]))
    assert not has_ended(pod(going=True))


def test_a_deleted_pod_whose_container_the_node_has_lost_has_ended() -> None:
    # As kubelet 1.20 writes it when it clears up in the moment in which the container ends.
    lost = {
        "state": {"waiting": {"reason": "ContainerCreating"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "ContainerStatusUnknown", "startedAt": None}},
        "restartCount": 0,
    }
    assert has_ended(pod(going=True, containerStatuses=[lost]))
    assert not has_ended(pod(going=False, containerStatuses=[lost]))
    may_be_starting = {**lost, "restartCount": 1}
    assert not has_ended(pod(going=True, containerStatuses=[may_be_starting]))
    never_started = {**lost, "lastState": {}}
    assert not has_ended(pod(going=True, containerStatuses=[never_started]))


def snapshot(*pods: Object, replicas: int = 1, **deployment: Any) -> OwnerObjects:
    obj = {"kind": "Deployment", "metadata": {"name": "d"}, "spec": {"replicas": replicas}, **deployment}
    return OwnerObjects(volume={"kind": "PersistentVolume", "metadata": {"name": "v"}}, deployment=obj, pods=pods)


def test_states() -> None:
    assert state_of(snapshot(READY)) == (State.RUNNING, "")
    assert state_of(snapshot())[0] is State.CREATING
    assert state_of(snapshot(waiting("ContainerCreating")))[0] is State.CREATING
    assert state_of(snapshot(waiting("ImagePullBackOff")))[0] is State.FAILED
    assert state_of(snapshot(pod(phase="Failed", reason="Evicted")))[0] is State.FAILED
    assert state_of(snapshot(READY, replicas=0))[0] is State.STOPPED
    assert state_of(OwnerObjects(volume={"metadata": {"name": "v"}})) == (State.DELETED, "no pod; the data is kept")
    assert state_of(snapshot(READY, metadata={"name": "d", "deletionTimestamp": "x"}))[0] is State.DELETED


def test_a_quota_shows_in_the_deployment_where_there_is_no_pod() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: none"}
    refused = snapshot(status={"conditions": [failure]})
    assert state_of(refused)[0] is State.FAILED
    assert refused.deployment is not None
    error = replica_failure(refused.deployment)
    assert error is not None
    assert (error.code, "exceeded quota" in error.message) == ("pod_refused", True)
