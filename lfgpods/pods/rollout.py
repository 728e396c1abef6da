"""Wait for a pod to become ready or to end, with a watch. Stops early with the cause if it cannot become ready."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from lfgpods.core.errors import KubernetesError, TimeLimitError
from lfgpods.core.operation import Operation
from lfgpods.core.owners import Names
from lfgpods.kube.diagnosis import UNBOUND_CLAIM, diagnose, has_ended, is_terminating, newest_pod, replica_failure
from lfgpods.kube.kinds import of_kind
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.labels import RESYNCED_AT, REVISION

if TYPE_CHECKING:
    from lfgpods.kube.objects import Event, Pod

PROVISIONING_POLL = 10.0
"""Seconds between two queries for the provisioner's events."""
PROVISIONING_GRACE = 30.0
"""How long a provisioner may report failures before the pod counts as failed, in seconds."""
POD_EXPECTED_AFTER = 3.0
RESYNC_AFTER_MIN, RESYNC_AFTER_MAX = 0.6, 1.5
"""Bounds of the wait before a scheduled pod that does not start is re-synced, in seconds."""
RESYNC_AFTER_FACTOR = 3.0
"""Within these bounds, wait this many times as long as scheduling took."""
RELIST_AFTER = 10.0
TERMINATION_RESYNC_AFTER = 4.0
"""Seconds after which a terminating pod is re-synced. Most take less than three."""
REPLACEMENTS = 3


def wait_ready(
    kubectl: Kubectl,
    names: Names,
    revision: str,
    operation: Operation,
    *,
    provisioned: bool = False,
    grace: float = 10.0,
) -> Pod:
    """Wait until a pod of REVISION is ready, and return it. It may be ready already.

    GRACE is how long a temporary failure may last, in seconds: a pull is retried, a node is being added.
    With PROVISIONED, waits for the provisioner of the volume unless it reports failures.
    Raises KubernetesError if the pod cannot become ready, and TimeLimitError if OPERATION runs out of time.
    """
    start = time.monotonic()
    pods: dict[str, Pod] = {}
    failing_since: dict[str, float] = {}
    checked = start
    replaced: set[str] = set()
    timer = _StartTimer(start)
    provisioning = _Provisioning(kubectl, names)
    step = "waiting for the pod to be created"
    while (left := operation.left) > 0:
        for changed in kubectl.watch_pods(names.namespace, f"app={names.namespace}", left):
            if changed is not None and changed.metadata.name not in replaced:
                pods[changed.metadata.name] = changed
            now = time.monotonic()
            pod = newest_pod((one for one in pods.values() if not is_terminating(one)), revision)
            if pod is None:
                operation.on_step(step)
                if now - checked > POD_EXPECTED_AFTER:
                    checked = now
                    expected, refused = _expected_revision(kubectl, names)
                    revision = expected or revision
                    if refused and now - failing_since.setdefault(refused.code, now) >= grace:
                        raise refused
                continue
            diagnosis = diagnose(pod)
            step = diagnosis.step
            operation.on_step(step)
            if diagnosis.ready:
                return pod
            if provisioned and not pod.spec.node_name:
                provisioning.check(now)
                if diagnosis.error is not None and diagnosis.error.code == UNBOUND_CLAIM:
                    continue
            if diagnosis.error is None:
                failing_since.clear()
                if timer.is_late(pod, now):
                    force_resync(kubectl, f"pod/{pod.metadata.name}", names)
                continue
            if diagnosis.error.code == UNBOUND_CLAIM and len(replaced) < REPLACEMENTS:
                name = pod.metadata.name
                _replace_unbound(kubectl, names, name, again=bool(replaced))
                replaced.add(name)
                del pods[name]
                continue
            since = failing_since.setdefault(diagnosis.error.code, now)
            if diagnosis.final or now - since >= grace:
                raise diagnosis.error
    raise TimeLimitError(
        f"the pod was not ready after {operation.seconds:g} s: {step}{_last_warning(kubectl, names)}",
        "It is still starting. Check it with lfgpods status, or wait longer with --timeout.",
    )


def _replace_unbound(kubectl: Kubectl, names: Names, pod_name: str, *, again: bool) -> None:
    """Delete a pod that the scheduler rejected because its claim was not bound yet.

    The pod never ran. Kubernetes schedules its successor at once, but retries this one only in its next round. A claim
    that stays unbound was seen before its volume. It waits for a resync (15 s), so AGAIN forces one.
    """
    if again:
        force_resync(kubectl, f"persistentvolumeclaim/{names.claim}", names)
    kubectl.delete([f"pod/{pod_name}"], names.namespace)


class _Provisioning:
    """Watches for failures of the provisioner."""

    def __init__(self, kubectl: Kubectl, names: Names) -> None:
        self._kubectl = kubectl
        self._names = names
        self._checked: float | None = None
        self._failing_since: float | None = None

    def check(self, now: float) -> None:
        """Raise KubernetesError once the provisioner has reported failures for PROVISIONING_GRACE seconds."""
        self._checked = now if self._checked is None else self._checked
        if now - self._checked < PROVISIONING_POLL:
            return
        self._checked = now
        failures = [event for event in self._kubectl.get_warnings(self._names.namespace) if _is_of_provisioner(event)]
        if not failures:
            self._failing_since = None
            return
        self._failing_since = now if self._failing_since is None else self._failing_since
        if now - self._failing_since >= PROVISIONING_GRACE:
            message = " ".join(failures[-1].message.split())[:300]
            raise KubernetesError(
                f"the volume cannot be provisioned: {message}",
                "Check the provisioner of its storage class: kubectl get storageclasses. Kubernetes keeps trying.",
                code="provisioning",
            )


def _is_of_provisioner(event: Event) -> bool:
    return event.reason == "ProvisioningFailed"


class _StartTimer:
    """Decides when a scheduled pod is late, with a longer interval each time.

    kubelet may have asked for the claim before the API server knew that the pod was assigned to its node. It then
    retries after 10 to 15 s, or as soon as the pod changes. Only an event reports this, and reading events takes as
    long as a re-sync, which never harms a pod.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._name = ""
        self._since = 0.0
        self._interval = 0.0

    def is_late(self, pod: Pod, now: float) -> bool:
        scheduled = bool(pod.spec.node_name)
        if not scheduled or pod.metadata.name != self._name:
            self._name, self._since = pod.metadata.name if scheduled else "", now
            took = now - self._began
            self._interval = min(max(RESYNC_AFTER_FACTOR * took, RESYNC_AFTER_MIN), RESYNC_AFTER_MAX)
            return False
        if now - self._since < self._interval:
            return False
        self._since = now
        self._interval *= 3
        return True


def force_resync(kubectl: Kubectl, reference: str, names: Names) -> bool:
    """Update an annotation so that controllers re-sync the object. Returns False if it is gone."""
    change = {"metadata": {"annotations": {RESYNCED_AT: str(time.time())}}}
    try:
        kubectl.patch(reference, names.namespace, change)
    except KubernetesError as error:
        return error.code != "not_found"
    return True


def wait_ended(kubectl: Kubectl, names: Names, pods: Iterable[Pod], operation: Operation) -> None:
    """Wait until all containers of PODS and of the owner's other terminating pods have ended.

    Does not wait for the pods' objects: kubelet removes them in rounds of ten seconds. Does not wait for pods that are
    created meanwhile. Raises TimeLimitError if OPERATION runs out of time.

    kubelet before 1.22 forgets a deletion that arrives while a container starts, for a minute or more. A re-sync makes
    it notice the deletion.
    """
    selector = f"app={names.namespace}"
    awaited = {pod.metadata.name for pod in pods}
    resynced = time.monotonic()
    while True:
        listed = kubectl.get_pods(names.namespace, selector)
        alive = {
            pod.metadata.name
            for pod in listed
            if not has_ended(pod) and (is_terminating(pod) or pod.metadata.name in awaited)
        }
        if not alive:
            return
        left = operation.left
        if left <= 0:
            raise still_terminating(min(alive), operation.seconds)
        operation.on_step("waiting for the pod to end")
        for changed in kubectl.watch_pods(names.namespace, selector, min(left, RELIST_AFTER)):
            operation.on_step("waiting for the pod to end")
            if changed is not None and has_ended(changed):
                alive.discard(changed.metadata.name)
            if time.monotonic() - resynced > TERMINATION_RESYNC_AFTER:
                resynced = time.monotonic()
                alive = {name for name in alive if force_resync(kubectl, f"pod/{name}", names)}
            if not alive:
                return


def still_terminating(pod_name: str, timeout: float) -> TimeLimitError:
    """Return the error for a pod that still runs after TIMEOUT seconds."""
    return TimeLimitError(
        f"the pod {pod_name} is still terminating after {timeout:g} s",
        "Its node may be down; see kubectl get nodes. The deletion continues.",
    )


def _expected_revision(kubectl: Kubectl, names: Names) -> tuple[str | None, KubernetesError | None]:
    """Return the Deployment's current revision, and the error if the cluster refuses to create its pods.

    Another caller may have changed the revision. A refusal may be temporary: for a moment, a new namespace has no
    service account and no counted quota. Raises KubernetesError if the Deployment is gone.
    """
    for deployment in of_kind(kubectl.get([f"deployment/{names.deployment}"], names.namespace), "Deployment"):
        return deployment.spec.template.metadata.annotations.get(REVISION), replica_failure(deployment)
    raise KubernetesError(
        "the Deployment was deleted while its pod was starting", "Run lfgpods create again.", code="conflict"
    )


def _last_warning(kubectl: Kubectl, names: Names) -> str:
    try:
        warnings = kubectl.get_warnings(names.namespace)
    except KubernetesError:
        return ""
    if not warnings:
        return ""
    event = warnings[-1]
    return f" ({event.reason}: {' '.join(event.message.split())[:200]})"
