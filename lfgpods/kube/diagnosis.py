"""What the cluster's objects say about an owner's pod: its state, why, and whether it can still become ready. Pure.

The reasons are those that kubelet, scheduler and controllers write into conditions and container statuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from lfgpods.core.errors import KubernetesError
from lfgpods.core.owners import Names
from lfgpods.kube.labels import REVISION, Object, metadata
from lfgpods.kube.nodes import Node, trouble_of


class State(StrEnum):
    CREATING = "creating"
    RUNNING = "running"
    STOPPED = "stopped"
    FAILED = "failed"
    DELETED = "deleted"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Snapshot:
    """An owner's objects as the cluster had them at one moment."""

    namespace: Object | None = None
    volume: Object | None = None
    claim: Object | None = None
    deployment: Object | None = None
    service: Object | None = None
    pods: tuple[Object, ...] = ()
    nodes: tuple[Node, ...] = ()
    """The cluster's nodes, where they may be why a pod does not run, and this account may see them."""

    @property
    def provisioned(self) -> bool:
        """Whether the cluster made the volume: one that lfgpods made has lfgpods' name."""
        if self.claim is not None and (name := self.claim["spec"].get("volumeName")):
            return bool(name != Names(self.claim["metadata"].get("namespace", "")).volume)
        if self.volume is not None and (claim := self.volume["spec"].get("claimRef")):
            return bool(self.volume["metadata"]["name"] != Names(claim.get("namespace", "")).volume)
        return False

    @property
    def objects(self) -> tuple[Object, ...]:
        """What there is of the five objects."""
        five = (self.namespace, self.volume, self.claim, self.deployment, self.service)
        return tuple(obj for obj in five if obj is not None)

    @property
    def exists(self) -> bool:
        return bool(self.objects)


@dataclass(frozen=True)
class Diagnosis:
    """How far a pod is. `error` says why it is not ready; `final` that waiting cannot help."""

    ready: bool
    step: str
    error: KubernetesError | None = None
    final: bool = False


_WAITING = {
    "InvalidImageName": ("image_pull", True),
    "ErrImageNeverPull": ("image_pull", True),
    "ErrImagePull": ("image_pull", False),
    "ImagePullBackOff": ("image_pull", False),
    "RegistryUnavailable": ("image_pull", False),
    "ImageInspectError": ("image_pull", False),
    "CreateContainerConfigError": ("container_config", True),
    "CreateContainerError": ("container_crash", False),
    "RunContainerError": ("container_crash", False),
    "PostStartHookError": ("container_crash", False),
    "CrashLoopBackOff": ("container_crash", False),
}
UNBOUND_CLAIM = "unbound_claim"
UNSCHEDULABLE = "unschedulable"
_HINTS = {
    UNBOUND_CLAIM: "See what the claim waits for: kubectl describe pvc in the pod's namespace.",
    "image_pull": "Check the image's name and tag, and the node's way to its registry; then create again with --image.",
    "container_config": "Check the pod's configuration with kubectl describe, then create again.",
    "container_crash": "The image has to bring a shell (sh) and sleep; try another one with --image.",
    UNSCHEDULABLE: "Ask for less with --cpu-request and --memory-request, or free or add a node.",
    "evicted": "Free memory or disk on the node, or ask for less; the files are kept.",
    "pod_refused": "Ask for less, or have the cluster's quota or policy changed; then create again.",
}


def is_going(obj: Object | None) -> bool:
    """Whether the object is being deleted."""
    return bool(obj and obj["metadata"].get("deletionTimestamp"))


def diagnose(pod: Object) -> Diagnosis:
    """Read one pod's status."""
    status = pod.get("status") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    if is_going(pod):
        return Diagnosis(False, "waiting for the old pod to end")
    if status.get("phase") == "Failed":
        reason = status.get("reason") or "Failed"
        return _broken("evicted", f"the pod was ended by its node: {reason}", status.get("message"), final=False)
    if (conditions.get("Ready") or {}).get("status") == "True":
        return Diagnosis(True, "ready")
    scheduled = conditions.get("PodScheduled") or {}
    if scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable":
        if "unbound" in (scheduled.get("message") or ""):
            return _broken(UNBOUND_CLAIM, "the volume is not bound yet", scheduled.get("message"), final=False)
        return _broken(UNSCHEDULABLE, "no node can take the pod", scheduled.get("message"), final=False)
    for container in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _WAITING:
            return _waiting(waiting, container)
        ended = (container.get("state") or {}).get("terminated")
        if ended:
            return _broken("container_crash", "the container ended at its start", _ending(ended), final=False)
    if scheduled.get("status") != "True":
        return Diagnosis(False, "waiting for a node")
    return Diagnosis(False, "starting the container (the image may have to be pulled)")


def _waiting(waiting: Object, container: Object) -> Diagnosis:
    reason = waiting["reason"]
    code, final = _WAITING[reason]
    message = waiting.get("message")
    if code == "container_crash":
        ended = (container.get("lastState") or {}).get("terminated") or {}
        return _broken(code, f"the container does not stay up: {reason}", _ending(ended) or message, final)
    if code == "image_pull":
        return _broken(code, f"the image {container.get('image')} cannot be pulled: {reason}", message, final)
    return _broken(code, f"the container cannot be made: {reason}", message, final)


def _ending(ended: Object) -> str:
    parts = [ended.get("reason") or "", ended.get("message") or ""]
    if ended.get("exitCode") is not None:
        parts.append(f"exit code {ended['exitCode']}")
    return ", ".join(part for part in parts if part)


def _broken(code: str, cause: str, detail: str | None, final: bool) -> Diagnosis:
    text = " ".join((detail or "").split())
    if len(text) > 300:
        text = text[:299] + "…"
    error = KubernetesError(f"{cause} ({text})" if text else cause, _HINTS[code], code=code)
    return Diagnosis(False, cause, error, final)


def is_ours(deployment: Object) -> bool:
    """Whether the Deployment's pods were described by lfgpods, rather than adopted with a label."""
    return REVISION in metadata(deployment["spec"].get("template"), "annotations")


def has_ended(pod: Object) -> bool:
    """Whether the pod is going away and nothing runs in it any more; its object may linger for many seconds."""
    status = pod.get("status") or {}
    statuses = status.get("containerStatuses") or ()
    others = (*(status.get("initContainerStatuses") or ()), *(status.get("ephemeralContainerStatuses") or ()))
    return (
        is_going(pod)
        and bool(statuses)
        and all((one.get("state") or {}).get("terminated") or _was_lost(one) for one in statuses)
        and not any("running" in (one.get("state") or {}) for one in others)
    )


def _was_lost(container: Object) -> bool:
    """Whether the node removed a deleted pod's container before it saw that it had ended, and so calls it waiting.

    The pod's object goes when kubelet clears up next, a minute later at most. A container that it lost before the
    deletion, and that it may be starting again, has a restart counted.
    """
    last = ((container.get("lastState") or {}).get("terminated") or {}).get("reason")
    waits = "waiting" in (container.get("state") or {})
    return waits and last == "ContainerStatusUnknown" and not container.get("restartCount")


def newest_pod(pods: Iterable[Object], revision: str | None = None) -> Object | None:
    """The pod that counts: one that is not going away and has not failed, rather than one that is or has."""
    if revision is not None:
        pods = [pod for pod in pods if metadata(pod, "annotations").get(REVISION) == revision]
    return max(
        pods,
        key=lambda pod: (
            not is_going(pod),
            (pod.get("status") or {}).get("phase") != "Failed",
            pod["metadata"].get("creationTimestamp") or "",
        ),
        default=None,
    )


def refusal(deployment: Object) -> KubernetesError | None:
    """Why the cluster makes no pod for the Deployment at all, such as a quota."""
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return _broken("pod_refused", "the cluster refuses to make the pod", condition.get("message"), True).error
    return None


def state_of(snapshot: Snapshot) -> tuple[State, str]:
    """The state and, where it is not simply running, one line that says why."""
    deployment = snapshot.deployment
    if deployment is None or is_going(deployment) or is_going(snapshot.namespace):
        return State.DELETED, "no pod; the data is kept" if snapshot.volume else "no pod"
    replicas = deployment["spec"].get("replicas", 1)
    if replicas == 0:
        return State.STOPPED, "the Deployment is scaled to 0"
    pod = newest_pod(snapshot.pods)
    if pod is not None:
        if silent := _silence_of_node(pod, snapshot.nodes):
            return State.UNKNOWN, silent
        diagnosis = diagnose(pod)
        if diagnosis.ready:
            return State.RUNNING, ""
        if diagnosis.error and diagnosis.error.code == UNSCHEDULABLE:
            trouble = trouble_of(snapshot.nodes, snapshot.volume)
            return State.FAILED, trouble or diagnosis.error.message
        return (State.FAILED, diagnosis.error.message) if diagnosis.error else (State.CREATING, diagnosis.step)
    if (deployment.get("status") or {}).get("readyReplicas"):
        return State.RUNNING, ""  # an adopted pod, which has no label to be found by
    refused = refusal(deployment)
    return (State.FAILED, refused.message) if refused else (State.CREATING, "waiting for the pod to be made")


def _silence_of_node(pod: Object, nodes: Sequence[Node]) -> str:
    """Why nobody knows what became of POD; empty where its node tells. A pod's status is what its node said last."""
    name = (pod.get("spec") or {}).get("nodeName")
    if not nodes or not name or (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return ""
    node = next((node for node in nodes if node.name == name), None)
    if node is None:
        return f"the pod was on the node {name}, which the cluster has no more"
    return "" if node.answers else node.trouble


def nodes_matter(snapshot: Snapshot) -> bool:
    """Whether the nodes may tell why the pod does not run: it did before, is said to end, or no node takes it."""
    pod = newest_pod(snapshot.pods)
    if snapshot.deployment is None or pod is None:
        return False
    diagnosis = diagnose(pod)
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    was_running = not diagnosis.ready and any((s.get("state") or {}).get("running") is not None for s in statuses)
    return was_running or is_going(pod) or (diagnosis.error is not None and diagnosis.error.code == UNSCHEDULABLE)


def ready_pod(pods: Sequence[Object]) -> Object | None:
    pod = newest_pod(pods)
    return pod if pod is not None and diagnose(pod).ready else None
