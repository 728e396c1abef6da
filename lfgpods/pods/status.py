"""From an owner's objects in the cluster to the Pod that they make up. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lfgpods.core.objects import Object, metadata
from lfgpods.core.owners import Names, Owner, OwnerKind
from lfgpods.core.pod import Pod, ServicePort, State
from lfgpods.core.spec import PodSpec, Request, Resources, same_quantity, storage_name
from lfgpods.kube.diagnosis import UNSCHEDULABLE, diagnose, is_terminating, newest_pod, replica_failure
from lfgpods.kube.labels import CONVERSATION_ID
from lfgpods.kube.nodes import Node, nodes_of, trouble_of
from lfgpods.pods.objects import OwnerObjects, recorded_spec, storage_class, volume_place


def actual_spec(objects: OwnerObjects, base: PodSpec) -> PodSpec:
    """What the pod is, as its objects have it; what they do not tell is taken from the annotations, then from BASE."""
    known = recorded_spec(objects) or base
    pod_spec = _pod_spec(objects.deployment)
    container = _container(pod_spec)
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    capacity = (((objects.volume or {}).get("spec") or {}).get("capacity") or {}).get("storage")
    ports = tuple(port["port"] for port in _service_ports(objects.service))
    return PodSpec(
        image=container.get("image") or known.image,
        resources=Resources(
            memory=limits.get("memory") or known.resources.memory,
            cpu=limits.get("cpu") or known.resources.cpu,
            memory_requests=requests.get("memory") or known.resources.memory_requests,
            cpu_requests=requests.get("cpu") or known.resources.cpu_requests,
        ),
        storage_size=capacity or known.storage_size,
        ports=ports or known.ports,
        restricted=_is_restricted(pod_spec, container) if pod_spec else known.restricted,
        runtime_class=pod_spec.get("runtimeClassName") if pod_spec else known.runtime_class,
        storage_class=storage_class(objects) if objects.exists else known.storage_class,
    )


def plan_update(request: Request, actual: PodSpec, objects: OwnerObjects) -> tuple[PodSpec, tuple[str, ...]]:
    """What a pod that is ACTUAL can be made by REQUEST, and what of it cannot be had, in words.

    What holds the data stays what it was made as: anything else would be a second, empty volume.
    """
    spec = request.over(actual)
    refused = []
    if objects.exists and spec.storage_class != actual.storage_class:
        refused.append(f"storage is {storage_name(actual)} and cannot be changed to {storage_name(spec)}")
        spec = replace(spec, storage_class=actual.storage_class)
    made = objects.volume or (objects.claim if actual.storage_class else None)
    if made and not same_quantity(spec.storage_size, actual.storage_size):
        refused.append(f"storage size is {actual.storage_size} and cannot be changed to {spec.storage_size}")
        spec = replace(spec, storage_size=actual.storage_size)
    return spec, tuple(refused)


def pod_of(owner: Owner, names: Names, objects: OwnerObjects, address: str, base: PodSpec, volume_root: str) -> Pod:
    """The pod of OWNER as OBJECTS shows it; ADDRESS is where node ports answer."""
    state, reason = state_of(objects)
    newest = newest_pod(objects.pods) if state in (State.RUNNING, State.CREATING, State.FAILED) else None
    conversation = metadata(objects.namespace or objects.volume, "annotations").get(CONVERSATION_ID)
    service = objects.service if state is not State.DELETED else None
    host = f"[{address}]" if ":" in address else address
    spec = actual_spec(objects, base)
    return Pod(
        owner=owner,
        conversation_id=owner.id if owner.kind is OwnerKind.CONVERSATION else conversation,
        namespace=names.namespace,
        status=state,
        reason=reason,
        spec=spec,
        volume=volume_place(objects, names, volume_root, spec.storage_class),
        volume_nodes=nodes_of(objects.volume) or frozenset(),
        pod_name=newest["metadata"]["name"] if newest else None,
        service_name=service["metadata"]["name"] if service else None,
        cluster_ip=service["spec"].get("clusterIP") if service else None,
        ports=tuple(
            ServicePort(port["port"], port["nodePort"], f"http://{host}:{port['nodePort']}")
            for port in _service_ports(service)
            if port.get("nodePort")
        ),
        created_at=_created(objects.namespace or objects.volume),
        started_at=((newest or {}).get("status") or {}).get("startTime"),
    )


def _pod_spec(deployment: Object | None) -> Mapping[str, Any]:
    template = ((deployment or {}).get("spec") or {}).get("template") or {}
    return template.get("spec") or {}


def _container(pod_spec: Mapping[str, Any]) -> Mapping[str, Any]:
    containers = pod_spec.get("containers") or [{}]
    return containers[0] or {}


def _is_restricted(pod_spec: Mapping[str, Any], container: Mapping[str, Any]) -> bool:
    """Whether the container has no root, no capability and no way to either."""
    context = {**(pod_spec.get("securityContext") or {}), **(container.get("securityContext") or {})}
    dropped = (context.get("capabilities") or {}).get("drop") or ()
    return bool(context.get("runAsNonRoot")) and context.get("allowPrivilegeEscalation") is False and "ALL" in dropped


def _service_ports(service: Object | None) -> list[Mapping[str, Any]]:
    return ((service or {}).get("spec") or {}).get("ports") or []


def _created(obj: Object | None) -> str | None:
    return obj["metadata"].get("creationTimestamp") if obj else None


def state_of(objects: OwnerObjects) -> tuple[State, str]:
    """The state and, where it is not simply running, one line that says why."""
    deployment = objects.deployment
    if deployment is None or is_terminating(deployment) or is_terminating(objects.namespace):
        return State.DELETED, "no pod; the data is kept" if objects.volume else "no pod"
    replicas = deployment["spec"].get("replicas", 1)
    if replicas == 0:
        return State.STOPPED, "the Deployment is scaled to 0"
    pod = newest_pod(objects.pods)
    if pod is not None:
        if silent := _silence_of_node(pod, objects.nodes):
            return State.UNKNOWN, silent
        diagnosis = diagnose(pod)
        if diagnosis.ready:
            return State.RUNNING, ""
        if diagnosis.error and diagnosis.error.code == UNSCHEDULABLE:
            trouble = trouble_of(objects.nodes, objects.volume)
            return State.FAILED, trouble or diagnosis.error.message
        return (State.FAILED, diagnosis.error.message) if diagnosis.error else (State.CREATING, diagnosis.step)
    if (deployment.get("status") or {}).get("readyReplicas"):
        return State.RUNNING, ""  # an adopted pod, which has no label to be found by
    refused = replica_failure(deployment)
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


def nodes_matter(objects: OwnerObjects) -> bool:
    """Whether the nodes may tell why the pod does not run: it did before, is said to end, or no node takes it."""
    pod = newest_pod(objects.pods)
    if objects.deployment is None or pod is None:
        return False
    diagnosis = diagnose(pod)
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    was_running = not diagnosis.ready and any((s.get("state") or {}).get("running") is not None for s in statuses)
    return was_running or is_terminating(pod) or (diagnosis.error is not None and diagnosis.error.code == UNSCHEDULABLE)
