"""An owner's objects as the cluster has them, and what they say of themselves. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from lfgpods.core.errors import KubernetesError
from lfgpods.core.objects import Object, metadata
from lfgpods.core.owners import Names
from lfgpods.core.spec import PodSpec
from lfgpods.kube.labels import (
    DELETED_AT,
    REVISION,
    read_spec,
)
from lfgpods.kube.nodes import Node


@dataclass(frozen=True)
class OwnerObjects:
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


def is_ours(deployment: Object) -> bool:
    """Whether the Deployment's pods were described by lfgpods, rather than adopted with a label."""
    return REVISION in metadata(deployment["spec"].get("template"), "annotations")


_FIELDS = {
    "Namespace": "namespace",
    "PersistentVolume": "volume",
    "PersistentVolumeClaim": "claim",
    "Deployment": "deployment",
    "Service": "service",
}


def owner_objects(objects: Sequence[Object]) -> OwnerObjects:
    """The objects that one owner's objects make up."""
    found: dict[str, Any] = {_FIELDS[obj["kind"]]: obj for obj in objects if obj["kind"] in _FIELDS}
    pods = tuple(obj for obj in objects if obj["kind"] == "Pod")
    return OwnerObjects(**found, pods=pods)


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


def recorded_spec(objects: OwnerObjects) -> PodSpec | None:
    """What the annotations say that the pod was asked to be."""
    records = (read_spec(obj) for obj in (objects.namespace, objects.volume, objects.claim) if obj)
    return next(filter(None, records), None)


def storage_class(objects: OwnerObjects) -> str | None:
    """The class that the volume is of, or is to be of; None for a folder of the host."""
    volume, claim = objects.volume, objects.claim
    if objects.provisioned:
        of_class = (volume or claim or {})["spec"].get("storageClassName")
        return str(of_class) if of_class else None
    if volume is not None or (claim is not None and claim["spec"].get("volumeName")):
        return None
    recorded = recorded_spec(objects)
    return recorded.storage_class if recorded else None


def volume_place(objects: OwnerObjects, names: Names, volume_root: str, of_class: str | None) -> str:
    """Where the data lies, for people: a folder of the host, or the name of what the cluster made OF_CLASS."""
    if of_class is None:
        return volume_folder(objects, names, volume_root)
    bound = ((objects.claim or {}).get("spec") or {}).get("volumeName")
    name = objects.volume["metadata"]["name"] if objects.volume else bound
    return f"persistentvolume/{name}" if name else f"persistentvolumeclaim/{names.claim}"


def volume_folder(objects: OwnerObjects, names: Names, volume_root: str) -> str:
    """Where the data lies: the folder that the PersistentVolume names, else the one that it would be given."""
    path = (((objects.volume or {}).get("spec") or {}).get("hostPath") or {}).get("path")
    return str(path) if path else names.folder(volume_root)


def is_marked_deleted(objects: OwnerObjects) -> bool:
    """Whether the namespace says since when there has been no pod."""
    return DELETED_AT in metadata(objects.namespace, "annotations")


def not_the_owner(message: str) -> KubernetesError:
    return KubernetesError(
        message,
        "Nothing was changed. Look at it with kubectl; what is really yours can be deleted by hand.",
        code="not_the_owner",
    )


def is_bound(claim: Object | None) -> bool:
    """Whether CLAIM is there and has a volume."""
    return claim is not None and bool(claim["spec"].get("volumeName"))
