"""Find orphans, which no longer belong to an owner, among cluster objects, volume folders and the store. No I/O.

An orphan is removable only if labels, or a folder's record, prove that it is lfgpods' own. Files are removable only if
the caller gives an age and they have been unused for that long.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from lfgpods.core.owners import Owner
from lfgpods.core.pod import Pod
from lfgpods.kube.kinds import of_kind
from lfgpods.kube.labels import DELETED_AT, PURGING, annotation, label, owner_of_record, read_owner
from lfgpods.kube.nodes import nodes_of
from lfgpods.pods.lock import HOLDER, is_orphan
from lfgpods.pods.objects import OwnerObjects, group_by_namespace, owner_objects
from lfgpods.volumes.folders import PURGING_SUFFIX, Folder

if TYPE_CHECKING:
    from lfgpods.kube import objects as kube

KINDS = ("namespaces", "persistentvolumes", "persistentvolumeclaims", "deployments", "services", "leases")
STALE_LEASE_SECONDS = 86400.0
"""Age after which a lock of another machine counts as abandoned. Clocks differ by less."""


class Kind(StrEnum):
    LOCK = "lock"
    NAMESPACE = "namespace"
    WORKLOAD = "workload"
    VOLUME = "volume"
    FOLDER = "folder"
    RECORD = "record"


@dataclass(frozen=True)
class Orphan:
    """Something that no longer belongs to an owner. `age` is in seconds, `size` in KiB."""

    kind: Kind
    name: str
    why: str
    removable: bool
    owner: Owner | None = None
    age: float | None = None
    size: int | None = None
    proof: str = ""
    """Distinguishes this lock from a later one of the same name."""
    removed: bool = False
    error: str = ""

    def as_dict(self) -> dict[str, object]:
        """The stable fields of the JSON and YAML output."""
        return {
            "kind": self.kind.value,
            "name": self.name,
            "owner": f"{self.owner.kind}/{self.owner.id}" if self.owner else None,
            "why": self.why,
            "age_seconds": None if self.age is None else int(self.age),
            "size_kib": self.size,
            "removable": self.removable,
            "removed": self.removed,
            "error": self.error,
        }


@dataclass(frozen=True)
class Inventory:
    """Everything that may be an orphan, and the inputs of the search. `now` is in seconds since the epoch.

    Files that have been unused for `older_than` seconds are orphans; with None, no files are.
    """

    objects: Sequence[kube.ListedObject]
    folders: Sequence[Folder]
    remembered: Sequence[Pod]
    volume_root: str
    now: float
    older_than: float | None = None
    node: str | None = None
    """The hostname of the node with the folders, if the cluster has several nodes."""
    instance: str | None = None


def find_orphans(inventory: Inventory) -> list[Orphan]:
    """Return the orphans, by kind and name. Skips owners whose lock is held."""
    leases = of_kind(inventory.objects, "Lease")
    left = [lease for lease in leases if is_orphan(lease) or _age_of_lease(lease, inventory.now) > STALE_LEASE_SECONDS]
    busy = {lease.metadata.name.removeprefix("lfgpods-") for lease in leases if lease not in left}
    groups = group_by_namespace(obj for obj in inventory.objects if obj.kind != "Lease")
    folders = {folder.name: folder for folder in inventory.folders}
    remembered = {pod.namespace: pod for pod in inventory.remembered}
    found = [_lock(lease, inventory.now) for lease in left]
    for namespace, objects in groups.items():
        if namespace not in busy:
            found += _of_namespace(namespace, objects, folders.get(namespace), remembered.get(namespace), inventory)
    used = {volume.spec.host_path.path for volume in of_kind(inventory.objects, "PersistentVolume")}
    for name, folder in folders.items():
        path = posixpath.join(inventory.volume_root, name)
        if name.removesuffix(PURGING_SUFFIX) not in busy and name not in groups and path not in used:
            found.append(_folder(folder, inventory))
    for namespace, pod in remembered.items():
        if not {namespace} & (busy | groups.keys() | folders.keys()):
            made = _moment(pod.last_used_at or pod.created_at)
            age = None if made is None else max(0.0, inventory.now - made)
            found.append(
                Orphan(Kind.RECORD, namespace, "it exists neither in the cluster nor on the host", True, pod.owner, age)
            )
    order = list(Kind)
    return sorted(found, key=lambda orphan: (order.index(orphan.kind), orphan.name))


def _lock(lease: kube.Lease, now: float) -> Orphan:
    return Orphan(
        Kind.LOCK,
        lease.metadata.name,
        f"its holder {lease.spec.holder_identity or 'unknown'} is gone",
        True,
        age=_age_of_lease(lease, now),
        proof=f"{lease.metadata.namespace}/{label(lease, HOLDER)}",
    )


def _of_namespace(
    namespace: str, listed: Sequence[kube.ListedObject], folder: Folder | None, row: Pod | None, inventory: Inventory
) -> Iterable[Orphan]:
    objects = owner_objects(listed)
    owner = _owner(objects)
    if owner is None or owner.names.namespace != namespace:
        name = f"{listed[0].kind.lower()}/{listed[0].metadata.name}"
        yield Orphan(Kind.NAMESPACE, name, "it has lfgpods' label, but no owner", False)
    elif objects.deployment is not None:
        return
    elif objects.volume is None and objects.provisioned:
        why = "it is bound, but lacks lfgpods' labels; create or delete adds them"
        yield Orphan(Kind.VOLUME, f"claim/{owner.names.claim}", why, False, owner)
    elif objects.volume is None and not (folder and folder.filled):
        yield Orphan(Kind.NAMESPACE, namespace, "a create was interrupted before it made the volume", True, owner)
    elif objects.volume is not None:
        if objects.service is not None:
            yield Orphan(Kind.WORKLOAD, f"service/{owner.names.service}", "a delete was interrupted", True, owner)
        yield from _kept(owner, objects, folder, row, inventory)


def _kept(
    owner: Owner, objects: OwnerObjects, folder: Folder | None, row: Pod | None, inventory: Inventory
) -> Iterable[Orphan]:
    """Yield the volume of a deleted pod, if it is old enough or a part of it is missing."""
    assert objects.volume is not None
    name, path = objects.volume.metadata.name, objects.volume.spec.host_path.path
    if objects.provisioned:
        yield from _kept_by_class(owner, objects, row, inventory)
        return
    tied = nodes_of(objects.volume)
    here = posixpath.dirname(path) == inventory.volume_root and (tied is None or inventory.node in tied)
    size = folder.size if folder else None
    if here and folder is None and annotation(objects.volume, PURGING) is not None:
        yield Orphan(Kind.VOLUME, name, "a purge was interrupted after it removed the files", True, owner)
        return
    age = _unused_for(objects, folder, row, inventory.now)
    old = here and age is not None and inventory.older_than is not None and age >= inventory.older_than
    if old:
        yield Orphan(Kind.VOLUME, name, "its pod was deleted, and it has not been used since", True, owner, age, size)
    elif annotation(objects.volume, PURGING) is not None:
        why = "a purge was interrupted before it touched a file; create keeps the files, delete --purge removes them"
        yield Orphan(Kind.VOLUME, name, why, False, owner, age, size)
    elif objects.namespace is None:
        yield Orphan(Kind.VOLUME, name, "its namespace is gone; create binds it again", False, owner, age, size)
    elif here and folder is None:
        yield Orphan(Kind.VOLUME, name, f"its folder {path} is gone", False, owner, age)


def _kept_by_class(owner: Owner, objects: OwnerObjects, row: Pod | None, inventory: Inventory) -> Iterable[Orphan]:
    """Like `_kept` for a provisioned volume, for which only the time of the deletion is known."""
    assert objects.volume is not None
    name = objects.volume.metadata.name
    age = _unused_for(objects, None, row, inventory.now)
    old = age is not None and inventory.older_than is not None and age >= inventory.older_than
    ours = read_owner(objects.volume) == owner
    if annotation(objects.volume, PURGING) is not None:
        given_up = objects.claim is None
        why = (
            "a purge was interrupted"
            if given_up
            else "a purge was interrupted before it released the volume; create keeps it"
        )
        yield Orphan(Kind.VOLUME, name, why, ours and given_up, owner, age)
    elif old:
        yield Orphan(Kind.VOLUME, name, "its pod was deleted, and it has not been used since", ours, owner, age)
    elif objects.namespace is None:
        yield Orphan(Kind.VOLUME, name, "its namespace is gone; create binds it again", False, owner, age)


def _folder(folder: Folder, inventory: Inventory) -> Orphan:
    age = None if folder.changed is None else max(0.0, inventory.now - folder.changed)
    if folder.purging:
        return Orphan(Kind.FOLDER, folder.name, "a purge was interrupted", True, age=age, size=folder.size)
    owner = owner_of_record(folder.owner, inventory.instance)
    if owner is None or owner.names.namespace != folder.name:
        why = "no volume uses it, and its owner is unknown"
        return Orphan(Kind.FOLDER, folder.name, why, False, age=age, size=folder.size)
    if not folder.filled:
        return Orphan(Kind.FOLDER, folder.name, "it is empty, and no volume uses it", True, owner, age, folder.size)
    old = age is not None and inventory.older_than is not None and age >= inventory.older_than
    why = "no volume uses it; create reuses it" if not old else "no volume uses it, and its files are old"
    return Orphan(Kind.FOLDER, folder.name, why, old, owner, age, folder.size)


def _owner(objects: OwnerObjects) -> Owner | None:
    for obj in (objects.namespace, objects.volume):
        if obj is not None and (owner := read_owner(obj)) is not None:
            return owner
    return None


def is_folder(volume: kube.PersistentVolume) -> bool:
    """Whether VOLUME is a host folder, not a provisioned volume."""
    return not OwnerObjects(volume=volume).provisioned


def _unused_for(objects: OwnerObjects, folder: Folder | None, row: Pod | None, now: float) -> float | None:
    """Return the seconds since the volume was last used, or None if its pod's deletion time is unknown."""
    deleted = _moment(annotation(objects.namespace, DELETED_AT))
    if deleted is None and (folder is None or folder.changed is None):
        return None
    used = _moment(row.last_used_at) if row else None
    moments = [moment for moment in (deleted, used, folder.changed if folder else None) if moment is not None]
    return max(0.0, now - max(moments))


def _age_of_lease(lease: kube.Lease, now: float) -> float:
    """Return the seconds since the lock was renewed, or 0 if unknown."""
    renewed = _moment(lease.spec.renew_time)
    return 0.0 if renewed is None else max(0.0, now - renewed)


def _moment(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None
