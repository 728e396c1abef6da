"""Reads from a pod's status whether it is ready and, if not, why and whether waiting can help. Pure.

kubelet, the scheduler and the controllers write the reasons into conditions and container statuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lfgpods.core.errors import KubernetesError
from lfgpods.kube.labels import REVISION

if TYPE_CHECKING:
    from lfgpods.kube.objects import ContainerStatus, Deployment, KubeObject, Pod, Terminated, Waiting


@dataclass(frozen=True)
class Diagnosis:
    """How far a pod has come. `error` says why it is not ready, `final` that waiting cannot help."""

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
    "image_pull": "Check the image's name and tag, and whether the node reaches its registry; then create again.",
    "container_config": "Check the pod's configuration with kubectl describe, then create again.",
    "container_crash": "The image needs a shell (sh) and sleep; try another one with --image.",
    UNSCHEDULABLE: "Ask for less with --cpu-request and --memory-request, or free or add a node.",
    "evicted": "Free memory or disk on the node, or ask for less; the files are kept.",
    "pod_refused": "Ask for less, or have the cluster's quota or policy changed; then create again.",
}


def is_terminating(obj: KubeObject | None) -> bool:
    """Whether the object is being deleted."""
    return obj is not None and bool(obj.metadata.deletion_timestamp)


def diagnose(pod: Pod) -> Diagnosis:
    """Read one pod's status."""
    status = pod.status
    conditions = {condition.type: condition for condition in status.conditions}
    if is_terminating(pod):
        return Diagnosis(False, "waiting for the old pod to end")
    if status.phase == "Failed":
        return _broken("evicted", f"the pod was ended by its node: {status.reason or 'Failed'}", status.message)
    if "Ready" in conditions and conditions["Ready"].status == "True":
        return Diagnosis(True, "ready")
    scheduled = conditions.get("PodScheduled")
    if scheduled and (scheduled.status, scheduled.reason) == ("False", "Unschedulable"):
        if "unbound" in scheduled.message:
            return _broken(UNBOUND_CLAIM, "the volume is not bound yet", scheduled.message)
        return _broken(UNSCHEDULABLE, "no node can take the pod", scheduled.message)
    for container in (*status.init_container_statuses, *status.container_statuses):
        waiting, ended = container.state.waiting, container.state.terminated
        if waiting and waiting.reason in _WAITING:
            return _diagnose_waiting(waiting, container)
        if ended:
            return _broken("container_crash", "the container ended at its start", _exit_text(ended))
    if not scheduled or scheduled.status != "True":
        return Diagnosis(False, "waiting for a node")
    return Diagnosis(False, "starting the container (the image may have to be pulled)")


def _diagnose_waiting(waiting: Waiting, container: ContainerStatus) -> Diagnosis:
    code, final = _WAITING[waiting.reason]
    if code == "container_crash":
        ended = container.last_state.terminated
        detail = (_exit_text(ended) if ended else "") or waiting.message
        return _broken(code, f"the container does not stay up: {waiting.reason}", detail, final=final)
    if code == "image_pull":
        cause = f"the image {container.image} cannot be pulled: {waiting.reason}"
    else:
        cause = f"the container cannot be made: {waiting.reason}"
    return _broken(code, cause, waiting.message, final=final)


def _exit_text(ended: Terminated) -> str:
    exit_code = "" if ended.exit_code is None else f"exit code {ended.exit_code}"
    return ", ".join(filter(None, (ended.reason, ended.message, exit_code)))


def _broken(code: str, cause: str, detail: str, *, final: bool = False) -> Diagnosis:
    return Diagnosis(False, cause, _error(code, cause, detail), final)


def _error(code: str, cause: str, detail: str) -> KubernetesError:
    text = " ".join(detail.split())
    if len(text) > 300:
        text = text[:299] + "…"
    return KubernetesError(f"{cause} ({text})" if text else cause, _HINTS[code], code=code)


def has_ended(pod: Pod) -> bool:
    """Whether the pod is being deleted and nothing runs in it any more. Its object may stay for many seconds."""
    status = pod.status
    others = (*status.init_container_statuses, *status.ephemeral_container_statuses)
    return (
        is_terminating(pod)
        and bool(status.container_statuses)
        and all(one.state.terminated or _was_lost(one) for one in status.container_statuses)
        and not any(one.state.running for one in others)
    )


def _was_lost(container: ContainerStatus) -> bool:
    """Whether the node removed a deleted pod's container before it saw the container end, and so reports it as waiting.

    kubelet deletes such a pod's object in its next clean-up, a minute later at most. A restart count shows that the
    container was lost before the deletion, so kubelet may be starting it again.
    """
    last = container.last_state.terminated
    was_unknown = last is not None and last.reason == "ContainerStatusUnknown"
    return container.state.waiting is not None and was_unknown and not container.restart_count


def newest_pod(pods: Iterable[Pod], revision: str | None = None) -> Pod | None:
    """The pod that counts: the newest, but a pod that is terminating or has failed only if there is no other.

    With REVISION, only pods of that revision count.
    """
    if revision is not None:
        pods = [pod for pod in pods if pod.metadata.annotations.get(REVISION) == revision]
    return max(
        pods,
        key=lambda pod: (
            not is_terminating(pod),
            pod.status.phase != "Failed",
            pod.metadata.creation_timestamp or "",
        ),
        default=None,
    )


def replica_failure(deployment: Deployment) -> KubernetesError | None:
    """Why the cluster makes no pod for the Deployment, such as a quota; None if it does not refuse."""
    for condition in deployment.status.conditions:
        if (condition.type, condition.status) == ("ReplicaFailure", "True"):
            return _error("pod_refused", "the cluster refuses to make the pod", condition.message)
    return None


def ready_pod(pods: Sequence[Pod]) -> Pod | None:
    """The pod of PODS that counts, if it is ready."""
    pod = newest_pod(pods)
    return pod if pod is not None and diagnose(pod).ready else None
