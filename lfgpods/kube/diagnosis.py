"""What the cluster's objects say about an owner's pod: its state, why, and whether it can still become ready. Pure.

The reasons are those that kubelet, scheduler and controllers write into conditions and container statuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lfgpods.core.errors import KubernetesError
from lfgpods.core.objects import Object, metadata
from lfgpods.kube.labels import REVISION


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


def is_terminating(obj: Object | None) -> bool:
    """Whether the object is being deleted."""
    return bool(obj and obj["metadata"].get("deletionTimestamp"))


def diagnose(pod: Object) -> Diagnosis:
    """Read one pod's status."""
    status = pod.get("status") or {}
    conditions = {c.get("type"): c for c in status.get("conditions") or ()}
    if is_terminating(pod):
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


def has_ended(pod: Object) -> bool:
    """Whether the pod is going away and nothing runs in it any more; its object may linger for many seconds."""
    status = pod.get("status") or {}
    statuses = status.get("containerStatuses") or ()
    others = (*(status.get("initContainerStatuses") or ()), *(status.get("ephemeralContainerStatuses") or ()))
    return (
        is_terminating(pod)
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
            not is_terminating(pod),
            (pod.get("status") or {}).get("phase") != "Failed",
            pod["metadata"].get("creationTimestamp") or "",
        ),
        default=None,
    )


def replica_failure(deployment: Object) -> KubernetesError | None:
    """Why the cluster makes no pod for the Deployment at all, such as a quota."""
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return _broken("pod_refused", "the cluster refuses to make the pod", condition.get("message"), True).error
    return None


def ready_pod(pods: Sequence[Object]) -> Object | None:
    pod = newest_pod(pods)
    return pod if pod is not None and diagnose(pod).ready else None
