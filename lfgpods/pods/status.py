"""From an owner's objects in the cluster to the Pod that they make up. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lfgpods.core.owners import Names, Owner, OwnerKind
from lfgpods.core.pod import Pod, ServicePort
from lfgpods.core.spec import PodSpec, Request, Resources, same_quantity, storage_name
from lfgpods.kube.diagnosis import Snapshot, State, newest_pod, state_of
from lfgpods.kube.labels import CONVERSATION_ID, Object, metadata, read_spec
from lfgpods.kube.nodes import tied_to

_FIELDS = {
    "Namespace": "namespace",
    "PersistentVolume": "volume",
    "PersistentVolumeClaim": "claim",
    "Deployment": "deployment",
    "Service": "service",
}


def snapshot_of(objects: Sequence[Object]) -> Snapshot:
    """The snapshot that one owner's objects make up."""
    found: dict[str, Any] = {_FIELDS[obj["kind"]]: obj for obj in objects if obj["kind"] in _FIELDS}
    pods = tuple(obj for obj in objects if obj["kind"] == "Pod")
    return Snapshot(**found, pods=pods)


def group_by_namespace(objects: Iterable[Object]) -> dict[str, list[Object]]:
    """The objects by the namespace that they are in, are, or (a volume) are claimed from."""
    groups: dict[str, list[Object]] = {}
    for obj in objects:
        metadata_of = obj["metadata"]
        if obj["kind"] == "Namespace":
            namespace = metadata_of["name"]
        elif obj["kind"] == "PersistentVolume":
            namespace = (obj["spec"].get("claimRef") or {}).get("namespace", "")
        else:
            namespace = metadata_of.get("namespace", "")
        groups.setdefault(namespace, []).append(obj)
    return groups


def actual_spec(snapshot: Snapshot, base: PodSpec) -> PodSpec:
    """What the pod is, as its objects have it; what they do not tell is taken from the annotations, then from BASE."""
    known = recorded_spec(snapshot) or base
    pod_spec = _pod_spec(snapshot.deployment)
    container = _container(pod_spec)
    resources = container.get("resources") or {}
    limits, requests = resources.get("limits") or {}, resources.get("requests") or {}
    capacity = (((snapshot.volume or {}).get("spec") or {}).get("capacity") or {}).get("storage")
    ports = tuple(port["port"] for port in _service_ports(snapshot.service))
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
        storage_class=storage_class(snapshot) if snapshot.exists else known.storage_class,
    )


def attainable(request: Request, actual: PodSpec, snapshot: Snapshot) -> tuple[PodSpec, tuple[str, ...]]:
    """What a pod that is ACTUAL can be made by REQUEST, and what of it cannot be had, in words.

    What holds the data stays what it was made as: anything else would be a second, empty volume.
    """
    spec = request.over(actual)
    refused = []
    if snapshot.exists and spec.storage_class != actual.storage_class:
        refused.append(f"storage is {storage_name(actual)} and cannot be changed to {storage_name(spec)}")
        spec = replace(spec, storage_class=actual.storage_class)
    made = snapshot.volume or (snapshot.claim if actual.storage_class else None)
    if made and not same_quantity(spec.storage_size, actual.storage_size):
        refused.append(f"storage size is {actual.storage_size} and cannot be changed to {spec.storage_size}")
        spec = replace(spec, storage_size=actual.storage_size)
    return spec, tuple(refused)


def recorded_spec(snapshot: Snapshot) -> PodSpec | None:
    """What the annotations say that the pod was asked to be."""
    records = (read_spec(obj) for obj in (snapshot.namespace, snapshot.volume, snapshot.claim) if obj)
    return next(filter(None, records), None)


def storage_class(snapshot: Snapshot) -> str | None:
    """The class that the volume is of, or is to be of; None for a folder of the host."""
    volume, claim = snapshot.volume, snapshot.claim
    if snapshot.provisioned:
        of_class = (volume or claim or {})["spec"].get("storageClassName")
        return str(of_class) if of_class else None
    if volume is not None or (claim is not None and claim["spec"].get("volumeName")):
        return None
    recorded = recorded_spec(snapshot)
    return recorded.storage_class if recorded else None


def volume_place(snapshot: Snapshot, names: Names, volume_root: str, of_class: str | None) -> str:
    """Where the data lies, for people: a folder of the host, or the name of what the cluster made OF_CLASS."""
    if of_class is None:
        return volume_folder(snapshot, names, volume_root)
    bound = ((snapshot.claim or {}).get("spec") or {}).get("volumeName")
    name = snapshot.volume["metadata"]["name"] if snapshot.volume else bound
    return f"persistentvolume/{name}" if name else f"persistentvolumeclaim/{names.claim}"


def volume_folder(snapshot: Snapshot, names: Names, volume_root: str) -> str:
    """Where the data lies: the folder that the PersistentVolume names, else the one that it would be given."""
    path = (((snapshot.volume or {}).get("spec") or {}).get("hostPath") or {}).get("path")
    return str(path) if path else names.folder(volume_root)


def pod_of(owner: Owner, names: Names, snapshot: Snapshot, address: str, base: PodSpec, volume_root: str) -> Pod:
    """The pod of OWNER as SNAPSHOT shows it; ADDRESS is where node ports answer."""
    state, reason = state_of(snapshot)
    newest = newest_pod(snapshot.pods) if state in (State.RUNNING, State.CREATING, State.FAILED) else None
    conversation = metadata(snapshot.namespace or snapshot.volume, "annotations").get(CONVERSATION_ID)
    service = snapshot.service if state is not State.DELETED else None
    host = f"[{address}]" if ":" in address else address
    spec = actual_spec(snapshot, base)
    return Pod(
        owner=owner,
        conversation_id=owner.id if owner.kind is OwnerKind.CONVERSATION else conversation,
        namespace=names.namespace,
        status=state,
        reason=reason,
        spec=spec,
        volume=volume_place(snapshot, names, volume_root, spec.storage_class),
        volume_nodes=tied_to(snapshot.volume) or frozenset(),
        pod_name=newest["metadata"]["name"] if newest else None,
        service_name=service["metadata"]["name"] if service else None,
        cluster_ip=service["spec"].get("clusterIP") if service else None,
        ports=tuple(
            ServicePort(port["port"], port["nodePort"], f"http://{host}:{port['nodePort']}")
            for port in _service_ports(service)
            if port.get("nodePort")
        ),
        created_at=_created(snapshot.namespace or snapshot.volume),
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
