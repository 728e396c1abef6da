"""Waiting for a pod: a watch rather than a clock, and an early end with its cause when it cannot become ready."""

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

PROVISIONING_LOOK_EVERY = 10.0
"""Seconds between two looks at what the provisioner says."""
PROVISIONING_GRACE = 30.0
"""Seconds that a provisioner which fails is given to succeed after all."""
POD_EXPECTED_AFTER = 3.0
PATIENCE = (0.6, 1.5)
"""Seconds after which a pod that does not start is touched: at least, and on a busy host at most."""
BUSY = 3.0
"""How many times as long as the pod took to come this far it is waited for within that."""
RELIST_AFTER = 10.0
ENDING_PATIENCE = 4.0
"""Seconds after which a pod that does not end is touched; most take less than three."""
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
    """Wait for the pod of REVISION, a running one of the same revision included, and return it.

    GRACE is how long, in seconds, a failure may last that can pass: a pull is tried again, a node is being added.
    A PROVISIONED volume takes as long as its provisioner does, unless that says that it fails.
    Raises KubernetesError with cause and remedy when it cannot become ready, TimeLimitError when the time is over.
    """
    start = time.monotonic()
    pods: dict[str, Pod] = {}
    failing_since: dict[str, float] = {}
    looked = start
    replaced: set[str] = set()
    starting = _Starting(start)
    provisioning = _Provisioning(kubectl, names)
    step = "waiting for the pod to be made"
    while (left := operation.left) > 0:
        for changed in kubectl.watch_pods(names.namespace, f"app={names.namespace}", left):
            if changed is not None and changed.metadata.name not in replaced:
                pods[changed.metadata.name] = changed
            now = time.monotonic()
            pod = newest_pod((one for one in pods.values() if not is_terminating(one)), revision)
            if pod is None:
                operation.on_step(step)
                if now - looked > POD_EXPECTED_AFTER:
                    looked = now
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
                if starting.is_late(pod, now):
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
        "It goes on starting; look with lfgpods status, and wait longer with --timeout.",
    )


def _replace_unbound(kubectl: Kubectl, names: Names, pod_name: str, *, again: bool) -> None:
    """Have a pod made anew that the scheduler saw before its claim was bound.

    It never ran, and its successor is looked at at once, where it would wait for the scheduler's next round. A
    claim that stays unbound was itself seen before its volume, and waits for a resync (15 s) unless it changes.
    """
    if again:
        force_resync(kubectl, f"persistentvolumeclaim/{names.claim}", names)
    kubectl.delete([f"pod/{pod_name}"], names.namespace)


class _Provisioning:
    """Looks now and then whether the volume of the pod cannot be made."""

    def __init__(self, kubectl: Kubectl, names: Names) -> None:
        self._kubectl = kubectl
        self._names = names
        self._looked: float | None = None
        self._failing_since: float | None = None

    def check(self, now: float) -> None:
        """Raise KubernetesError once the provisioner has said for PROVISIONING_GRACE that it fails."""
        self._looked = now if self._looked is None else self._looked
        if now - self._looked < PROVISIONING_LOOK_EVERY:
            return
        self._looked = now
        failures = [event for event in self._kubectl.get_warnings(self._names.namespace) if _is_of_provisioner(event)]
        if not failures:
            self._failing_since = None
            return
        self._failing_since = now if self._failing_since is None else self._failing_since
        if now - self._failing_since >= PROVISIONING_GRACE:
            message = " ".join(failures[-1].message.split())[:300]
            raise KubernetesError(
                f"the volume cannot be made: {message}",
                "Look at the provisioner of its storage class: kubectl get storageclasses. It is tried on and on.",
                code="provisioning",
            )


def _is_of_provisioner(event: Event) -> bool:
    return event.reason == "ProvisioningFailed"


class _Starting:
    """Which pod is being started since when; it is late after PATIENCE, and then ever more rarely.

    Its node may have asked for the claim before the API server knew that the pod is the node's. kubelet then tries
    again after 10 to 15 s, or as soon as the pod changes. Only an event tells of that, and to look for it takes as
    long as to touch the pod, which does no harm to one that only takes its time.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._name = ""
        self._since = 0.0
        self._patience = 0.0

    def is_late(self, pod: Pod, now: float) -> bool:
        scheduled = bool(pod.spec.node_name)
        if not scheduled or pod.metadata.name != self._name:
            self._name, self._since = pod.metadata.name if scheduled else "", now
            self._patience = min(max(BUSY * (now - self._began), PATIENCE[0]), PATIENCE[1])
            return False
        if now - self._since < self._patience:
            return False
        self._since = now
        self._patience *= 3
        return True


def force_resync(kubectl: Kubectl, reference: str, names: Names) -> bool:
    """Change an object in nothing that matters, so that who watches it looks again; whether it is there."""
    nudge = {"metadata": {"annotations": {RESYNCED_AT: str(time.time())}}}
    try:
        kubectl.patch(reference, names.namespace, nudge)
    except KubernetesError as error:
        return error.code != "not_found"
    return True


def wait_ended(kubectl: Kubectl, names: Names, pods: Iterable[Pod], operation: Operation) -> None:
    """Wait until nothing runs any more in PODS, nor in any other pod of the owner that is going away.

    Raises TimeLimitError when the time of OPERATION is over. Waits for containers, not for the pods' objects: kubelet
    confirms an ended pod in rounds of ten seconds. A pod that somebody makes meanwhile is not waited for.

    kubelet before 1.22 forgets a deletion that it is told while a container starts, until it looks again after a
    minute or more; a change of the pod makes it look now.
    """
    selector = f"app={names.namespace}"
    awaited = {pod.metadata.name for pod in pods}
    touched = time.monotonic()
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
            if time.monotonic() - touched > ENDING_PATIENCE:
                touched = time.monotonic()
                alive = {name for name in alive if force_resync(kubectl, f"pod/{name}", names)}
            if not alive:
                return


def still_terminating(pod_name: str, timeout: float) -> TimeLimitError:
    return TimeLimitError(
        f"the pod {pod_name} has not ended after {timeout:g} s",
        "It goes on ending; its node may be down: see kubectl get nodes.",
    )


def _expected_revision(kubectl: Kubectl, names: Names) -> tuple[str | None, KubernetesError | None]:
    """The revision that the Deployment makes pods of now, which is another one once somebody else has changed it.

    And why the cluster refuses to make one, if it does, which may pass: a new namespace has no service account and
    no counted quota for a moment.
    """
    for deployment in of_kind(kubectl.get([f"deployment/{names.deployment}"], names.namespace), "Deployment"):
        return deployment.spec.template.metadata.annotations.get(REVISION), replica_failure(deployment)
    raise KubernetesError(
        "the Deployment was deleted by somebody else while its pod was waited for", "Create again.", code="conflict"
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
