"""One owner's objects in the cluster, and what their labels, annotations and specs say. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lfgpods.core.errors import KubernetesError
from lfgpods.core.owners import Names
from lfgpods.core.spec import PodSpec
from lfgpods.kube.kinds import of_kind
from lfgpods.kube.labels import DELETED_AT, REVISION, annotation, read_spec
from lfgpods.kube.nodes import Node

if TYPE_CHECKING:
    from lfgpods.kube import objects as kube


@dataclass(frozen=True)
class OwnerObjects:
    """An owner's objects as the cluster had them at one moment."""

    namespace: kube.Namespace | None = None
    volume: kube.PersistentVolume | None = None
    claim: kube.PersistentVolumeClaim | None = None
    deployment: kube.Deployment | None = None
    service: kube.Service | None = None
    pods: tuple[kube.Pod, ...] = ()
    nodes: tuple[Node, ...] = ()
    """The cluster's nodes, if one may be why the pod does not run and this account may list them."""

    @property
    def provisioned(self) -> bool:
        """Whether the volume was provisioned. A volume that lfgpods made has its own name."""
        if self.claim is not None and (name := self.claim.spec.volume_name):
            return name != Names(self.claim.metadata.namespace).volume
        if self.volume is not None and (claim := self.volume.spec.claim_ref):
            return self.volume.metadata.name != Names(claim.namespace).volume
        return False

    @property
    def existing(self) -> tuple[kube.ListedObject, ...]:
        """Those of the five objects that exist."""
        five = (self.namespace, self.volume, self.claim, self.deployment, self.service)
        return tuple(obj for obj in five if obj is not None)

    @property
    def exists(self) -> bool:
        return bool(self.existing)


def is_ours(deployment: kube.Deployment) -> bool:
    """Whether lfgpods described the Deployment's pods, rather than adopted the Deployment with a label."""
    return REVISION in deployment.spec.template.metadata.annotations


_FIELDS = {
    "Namespace": "namespace",
    "PersistentVolume": "volume",
    "PersistentVolumeClaim": "claim",
    "Deployment": "deployment",
    "Service": "service",
}


def owner_objects(objects: Iterable[kube.KubeObject]) -> OwnerObjects:
    """Sort OBJECTS of one owner by kind."""
    objects = list(objects)
    found: dict[str, Any] = {_FIELDS[obj.kind]: obj for obj in objects if obj.kind in _FIELDS}
    return OwnerObjects(**found, pods=tuple(of_kind(objects, "Pod")))


def group_by_namespace(objects: Iterable[kube.ListedObject]) -> dict[str, list[kube.ListedObject]]:
    """Group OBJECTS by namespace. A volume counts as in its claim's namespace."""
    groups: dict[str, list[kube.ListedObject]] = {}
    for obj in objects:
        if obj.kind == "Namespace":
            namespace = obj.metadata.name
        elif obj.kind == "PersistentVolume":
            namespace = obj.claim.namespace
        else:
            namespace = obj.metadata.namespace
        groups.setdefault(namespace, []).append(obj)
    return groups


def recorded_spec(objects: OwnerObjects) -> PodSpec | None:
    """Return the pod's spec from the annotations, or None if there is none."""
    records = (read_spec(obj) for obj in (objects.namespace, objects.volume, objects.claim) if obj)
    return next(filter(None, records), None)


def storage_class(objects: OwnerObjects) -> str | None:
    """Return the storage class of the volume, even if it is still being provisioned; None for a host folder."""
    volume, claim = objects.volume, objects.claim
    if objects.provisioned:
        of_class = volume.spec.storage_class_name if volume else claim.spec.storage_class_name if claim else None
        return of_class or None
    if volume is not None or is_bound(claim):
        return None
    recorded = recorded_spec(objects)
    return recorded.storage_class if recorded else None


def volume_place(objects: OwnerObjects, names: Names, volume_root: str, of_class: str | None) -> str:
    """Return where the data is, for display: a host folder, or the name of the provisioned volume or its claim."""
    if of_class is None:
        return volume_folder(objects, names, volume_root)
    bound = objects.claim.spec.volume_name if objects.claim else ""
    name = objects.volume.metadata.name if objects.volume else bound
    return f"persistentvolume/{name}" if name else f"persistentvolumeclaim/{names.claim}"


def volume_folder(objects: OwnerObjects, names: Names, volume_root: str) -> str:
    """Return the PersistentVolume's folder, or the folder that a new one would get."""
    path = objects.volume.spec.host_path.path if objects.volume else ""
    return path or names.folder(volume_root)


def is_marked_deleted(objects: OwnerObjects) -> bool:
    """Whether the namespace records when its pod was deleted."""
    return annotation(objects.namespace, DELETED_AT) is not None


def not_the_owner(message: str) -> KubernetesError:
    """Return the error for objects that are not proven to be the owner's."""
    return KubernetesError(
        message,
        "Nothing was changed. Check it with kubectl, and delete by hand what is yours.",
        code="not_the_owner",
    )


def is_bound(claim: kube.PersistentVolumeClaim | None) -> bool:
    """Whether CLAIM exists and has a volume."""
    return claim is not None and bool(claim.spec.volume_name)
