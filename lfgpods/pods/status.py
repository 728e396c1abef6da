"""Derive an owner's Pod and its state from the owner's objects. No I/O."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lfgpods.core.owners import Names, Owner, OwnerKind
from lfgpods.core.pod import Pod, ServicePort, State
from lfgpods.core.spec import PodSpec, Request, Resources, same_quantity, storage_name
from lfgpods.kube.diagnosis import UNSCHEDULABLE, diagnose, is_terminating, newest_pod, replica_failure
from lfgpods.kube.labels import CONVERSATION_ID, annotation
from lfgpods.kube.nodes import Node, nodes_of, trouble_of
from lfgpods.pods.objects import OwnerObjects, recorded_spec, storage_class, volume_place

if TYPE_CHECKING:
    from lfgpods.kube import objects as kube


def actual_spec(objects: OwnerObjects, base: PodSpec) -> PodSpec:
    """Return the pod's spec from its objects, then from the annotations, then from BASE."""
    known = recorded_spec(objects) or base
    capacity = objects.volume.spec.capacity.get("storage") if objects.volume else None
    ports = tuple(port.port for port in objects.service.spec.ports) if objects.service else ()
    spec = replace(
        known,
        storage_size=capacity or known.storage_size,
        ports=ports or known.ports,
        storage_class=storage_class(objects) if objects.exists else known.storage_class,
    )
    pod = objects.deployment.spec.template.spec if objects.deployment else None
    if pod is None or not pod.containers:
        return spec
    container = pod.containers[0]
    limits, requests = container.resources.limits, container.resources.requests
    return replace(
        spec,
        image=container.image or known.image,
        resources=Resources(
            memory=limits.get("memory") or known.resources.memory,
            cpu=limits.get("cpu") or known.resources.cpu,
            memory_requests=requests.get("memory") or known.resources.memory_requests,
            cpu_requests=requests.get("cpu") or known.resources.cpu_requests,
        ),
        restricted=_is_restricted(pod.security_context, container.security_context),
        runtime_class=pod.runtime_class_name,
    )


def plan_update(request: Request, actual: PodSpec, objects: OwnerObjects) -> tuple[PodSpec, tuple[str, ...]]:
    """Apply REQUEST to the ACTUAL spec. Returns the new spec and the rejected changes, in words.

    A volume's class and size never change, because that would need a new, empty volume.
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
    """Return the pod of OWNER from OBJECTS. ADDRESS is where node ports answer."""
    state, reason = state_of(objects)
    newest = newest_pod(objects.pods) if state in (State.RUNNING, State.CREATING, State.FAILED) else None
    kept = objects.namespace or objects.volume
    service = objects.service if state is not State.DELETED else None
    spec = actual_spec(objects, base)
    return Pod(
        owner=owner,
        conversation_id=owner.id if owner.kind is OwnerKind.CONVERSATION else annotation(kept, CONVERSATION_ID),
        namespace=names.namespace,
        status=state,
        reason=reason,
        spec=spec,
        volume=volume_place(objects, names, volume_root, spec.storage_class),
        volume_nodes=nodes_of(objects.volume) or frozenset(),
        pod_name=newest.metadata.name if newest else None,
        service_name=service.metadata.name if service else None,
        cluster_ip=service.spec.cluster_ip if service else None,
        ports=_node_ports(service, address),
        created_at=kept.metadata.creation_timestamp if kept else None,
        started_at=newest.status.start_time if newest else None,
    )


def _is_restricted(pod: kube.SecurityContext, container: kube.SecurityContext) -> bool:
    """Whether the container has neither root nor capabilities and cannot gain them."""
    non_root = pod.run_as_non_root if container.run_as_non_root is None else container.run_as_non_root
    escalates = container.allow_privilege_escalation
    dropped = container.capabilities.drop
    return bool(non_root) and escalates is False and "ALL" in dropped


def _node_ports(service: kube.Service | None, address: str) -> tuple[ServicePort, ...]:
    host = f"[{address}]" if ":" in address else address
    return tuple(
        ServicePort(port.port, port.node_port, f"http://{host}:{port.node_port}")
        for port in (service.spec.ports if service else ())
        if port.node_port
    )


def state_of(objects: OwnerObjects) -> tuple[State, str]:
    """Return the state and one line with the reason, which is empty if the pod runs."""
    deployment = objects.deployment
    if deployment is None or is_terminating(deployment) or is_terminating(objects.namespace):
        return State.DELETED, "no pod; the data is kept" if objects.volume else "no pod"
    if deployment.spec.replicas == 0:
        return State.STOPPED, "the Deployment is scaled to 0"
    pod = newest_pod(objects.pods)
    if pod is not None:
        return _state_of_pod(pod, objects)
    if deployment.status.ready_replicas:
        return State.RUNNING, ""  # an adopted pod, which lacks the label to find it by
    refused = replica_failure(deployment)
    return (State.FAILED, refused.message) if refused else (State.CREATING, "waiting for the pod to be created")


def _state_of_pod(pod: kube.Pod, objects: OwnerObjects) -> tuple[State, str]:
    if trouble := _trouble_of_node(pod, objects.nodes):
        return State.UNKNOWN, trouble
    diagnosis = diagnose(pod)
    if diagnosis.ready:
        return State.RUNNING, ""
    if diagnosis.error is None:
        return State.CREATING, diagnosis.step
    trouble = trouble_of(objects.nodes, objects.volume) if diagnosis.error.code == UNSCHEDULABLE else ""
    return State.FAILED, trouble or diagnosis.error.message


def _trouble_of_node(pod: kube.Pod, nodes: Sequence[Node]) -> str:
    """Return why POD's status may be out of date: its node does not answer. Empty if it does."""
    name = pod.spec.node_name
    if not nodes or not name or pod.status.phase in ("Failed", "Succeeded"):
        return ""
    node = next((node for node in nodes if node.name == name), None)
    if node is None:
        return f"the pod was on the node {name}, which is no longer in the cluster"
    return "" if node.answers else node.trouble


def nodes_matter(objects: OwnerObjects) -> bool:
    """Whether a node may be why the pod does not run: it ran before, is terminating or cannot be scheduled."""
    pod = newest_pod(objects.pods)
    if objects.deployment is None or pod is None:
        return False
    diagnosis = diagnose(pod)
    was_running = not diagnosis.ready and any(one.state.running for one in pod.status.container_statuses)
    return was_running or is_terminating(pod) or (diagnosis.error is not None and diagnosis.error.code == UNSCHEDULABLE)
