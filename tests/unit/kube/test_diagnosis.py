"""Diagnoses of pods; the statuses are those of a real 1.20 cluster, shortened."""

from __future__ import annotations

from typing import Any

import pytest

from lfgpods.core.pod import State
from lfgpods.kube.diagnosis import diagnose, has_ended, newest_pod, replica_failure
from lfgpods.kube.labels import REVISION
from lfgpods.kube.objects import Deployment, PersistentVolume, Pod
from lfgpods.pods.objects import OwnerObjects
from lfgpods.pods.status import state_of
from tests.kube_objects import read_as


def pod(name: str = "p", *, going: bool = False, created: str = "2026-01-01T00:00:00Z", **status: Any) -> Pod:
    metadata: dict[str, Any] = {"name": name, "creationTimestamp": created, "annotations": {REVISION: "r1"}}
    if going:
        metadata["deletionTimestamp"] = created
    return read_as(Pod, {"metadata": metadata, "status": {"phase": "Pending", **status}})


SCHEDULED = {"type": "PodScheduled", "status": "True"}
READY = pod(phase="Running", conditions=[SCHEDULED, {"type": "Ready", "status": "True"}])


def waiting(reason: str, message: str = "", last: dict[str, Any] | None = None) -> Pod:
    container = {
        "image": "busybox",
        "state": {"waiting": {"reason": reason, "message": message}},
        "lastState": last or {},
    }
    return pod(conditions=[SCHEDULED], containerStatuses=[container])


def unschedulable(message: str) -> Pod:
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
def test_a_pod_that_cannot_run_has_a_cause_and_a_remedy(broken: Pod, code: str, final: bool) -> None:
    diagnosis = diagnose(broken)
    assert not diagnosis.ready
    assert diagnosis.error is not None
    assert (diagnosis.error.code, diagnosis.final) == (code, final)
    assert diagnosis.error.hint


def test_the_message_has_the_details_that_kubernetes_gives() -> None:
    crash = diagnose(waiting("CrashLoopBackOff", last={"terminated": {"exitCode": 7, "reason": "Error"}})).error
    assert "exit code 7" in str(crash)
    long = diagnose(waiting("ErrImagePull", "x" * 1000 + "\nsecond line")).error
    assert "\n" not in str(long)
    assert len(str(long)) < 450


def test_a_pod_that_is_still_starting_or_ending_has_no_error() -> None:
    assert diagnose(READY).ready
    for starting in (pod(), waiting("ContainerCreating"), pod(going=True), read_as(Pod, {"metadata": {"name": "p"}})):
        diagnosis = diagnose(starting)
        assert (diagnosis.ready, diagnosis.error) == (False, None)
        assert diagnosis.step


def test_the_newest_pod_is_the_living_one_of_the_revision() -> None:
    evicted = pod("evicted", phase="Failed", created="2026-01-03T00:00:00Z")
    ending = pod("ending", going=True, created="2026-01-02T00:00:00Z")
    assert newest_pod([evicted, READY, ending]) is READY
    assert newest_pod([evicted, ending]) is evicted
    assert newest_pod([READY], "r2") is None
    assert newest_pod([]) is None


def test_a_terminating_pod_in_which_nothing_runs_has_ended() -> None:
    ended = {"state": {"terminated": {"exitCode": 0}}}
    assert has_ended(pod(going=True, containerStatuses=[ended]))
    assert not has_ended(pod(going=True, containerStatuses=[ended, {"state": {"running": {}}}]))
    sidecars = [ended, {"state": {"running": {}}}]
    assert not has_ended(pod(going=True, containerStatuses=[ended], initContainerStatuses=sidecars))
    assert has_ended(pod(going=True, containerStatuses=[ended], initContainerStatuses=[ended]))
    assert not has_ended(pod(going=False, containerStatuses=[ended]))
    assert not has_ended(pod(going=True))


def test_a_deleted_pod_whose_container_the_node_has_lost_has_ended() -> None:
    # kubelet 1.20 writes this status if it cleans up at the moment the container ends.
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


VOLUME = read_as(PersistentVolume, {"metadata": {"name": "v"}, "spec": {}})


def objects(*pods: Pod, replicas: int = 1, **deployment: Any) -> OwnerObjects:
    spec = {"replicas": replicas, "template": {}}
    found = read_as(Deployment, {"metadata": {"name": "d"}, "spec": spec, **deployment})
    return OwnerObjects(volume=VOLUME, deployment=found, pods=pods)


def test_the_state_of_an_owner_follows_from_its_deployment_and_newest_pod() -> None:
    assert state_of(objects(READY)) == (State.RUNNING, "")
    assert state_of(objects())[0] is State.CREATING
    assert state_of(objects(waiting("ContainerCreating")))[0] is State.CREATING
    assert state_of(objects(waiting("ImagePullBackOff")))[0] is State.FAILED
    assert state_of(objects(pod(phase="Failed", reason="Evicted")))[0] is State.FAILED
    assert state_of(objects(READY, replicas=0))[0] is State.STOPPED
    assert state_of(OwnerObjects(volume=VOLUME)) == (State.DELETED, "no pod; the data is kept")
    assert state_of(objects(READY, metadata={"name": "d", "deletionTimestamp": "x"}))[0] is State.DELETED


def test_a_deployment_that_a_quota_refuses_a_pod_has_failed() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: none"}
    refused = objects(status={"conditions": [failure]})
    assert state_of(refused)[0] is State.FAILED
    assert refused.deployment is not None
    error = replica_failure(refused.deployment)
    assert error is not None
    assert (error.code, "exceeded quota" in error.message) == ("pod_refused", True)
