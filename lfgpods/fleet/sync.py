"""Keeping house: the store put right by the cluster, and what belongs to nobody found and removed."""

from __future__ import annotations

import posixpath
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lfgpods.core.errors import KubernetesError
from lfgpods.core.owners import Owner, names_of
from lfgpods.core.pod import Pod
from lfgpods.fleet import orphans
from lfgpods.fleet.orphans import Kind, Orphan, Surroundings
from lfgpods.kube.diagnosis import State
from lfgpods.kube.nodes import tied_to
from lfgpods.pods.reader import Cluster
from lfgpods.pods.remover import TIMEOUT
from lfgpods.pods.rollout import OnStep

if TYPE_CHECKING:
    from lfgpods.store import Store


@dataclass(frozen=True)
class Synced:
    """What a sync changed in the store, and what it saw that somebody has to look at, in words."""

    pods: int
    added: tuple[Owner, ...]
    changed: tuple[Owner, ...]
    removed: tuple[Owner, ...]
    problems: tuple[str, ...]


def put_right(store: Store, before: Sequence[Pod], found: Sequence[Pod]) -> tuple[list[Owner], ...]:
    """Write what was FOUND in the cluster to the store, which had BEFORE: the owners added, changed and removed.

    A pod that is being created has a row before it has anything in the cluster, and keeps it.
    """
    remembered = {pod.owner: pod for pod in before}
    now = {pod.owner: pod for pod in found}
    removed = [owner for owner, pod in remembered.items() if owner not in now and pod.status is not State.CREATING]
    added = [owner for owner in now if owner not in remembered]
    changed = [
        owner
        for owner in now.keys() & remembered.keys()
        if replace(now[owner], last_used_at=remembered[owner].last_used_at) != remembered[owner]
    ]
    store.remember(*(now[owner] for owner in (*added, *changed)))
    store.forget(removed)
    return tuple(sorted(owners, key=lambda owner: (owner.kind, owner.id)) for owners in (added, changed, removed))


def sync(cluster: Cluster, store: Store, volume_root: str) -> Synced:
    """Compare store, cluster and volume folders, and repair the store."""
    before = store.all()
    found = cluster.pods(len(before))
    here = cluster.placement.node_here() if any(pod.volume_nodes for pod in found) else None
    looked = cluster.removal.looks_for_folders or any(posixpath.dirname(pod.volume) == volume_root for pod in found)
    folders = {folder.name for folder in cluster.folders()} if looked else set()
    added, changed, removed = put_right(store, before, found)
    problems = [
        f"the volume folder {pod.volume} of {pod.owner} is gone"
        for pod in found
        if posixpath.dirname(pod.volume) == volume_root
        and pod.namespace not in folders
        and (not pod.volume_nodes or (here and here.hostname in pod.volume_nodes))
    ]
    unused = len(folders - {pod.namespace for pod in found})
    if unused:
        problems.append(f"{unused} volume folder{'s' if unused > 1 else ''} without a volume; see lfgpods gc")
    return Synced(len(found), tuple(added), tuple(changed), tuple(removed), tuple(problems))


def look_around(cluster: Cluster, store: Store, volume_root: str, older_than: float | None) -> Surroundings:
    """All that may belong to nobody; OLDER_THAN in seconds, None for no volume at all."""
    remembered = store.all()
    objects = cluster.everything(orphans.KINDS, len(remembered))
    volumes = [obj for obj in objects if obj["kind"] == "PersistentVolume"]
    looked = cluster.removal.looks_for_folders or any(map(orphans.is_folder, volumes))
    here = cluster.placement.node_here() if any(map(tied_to, volumes)) else None
    return Surroundings(
        objects=objects,
        folders=cluster.folders(measured=True) if looked else [],
        remembered=remembered,
        volume_root=volume_root,
        now=time.time(),
        older_than=older_than,
        node=here.hostname if here else None,
    )


def remove(cluster: Cluster, store: Store, orphan: Orphan, around: Surroundings, on_step: OnStep) -> None:
    """Remove ORPHAN, which was found AROUND, if a second look under its owner's lock finds it again."""
    if orphan.kind is Kind.LOCK:
        namespace, _, token = orphan.proof.partition("/")
        cluster.removal.remove_lock(namespace, token)
        return
    if orphan.owner is None:
        cluster.removal.remove_set_aside(orphan.name)
        return
    with cluster.locked(orphan.owner, TIMEOUT, on_step) as (lock, snapshot):
        looked = cluster.removal.looks_for_folders or not snapshot.provisioned
        name = names_of(orphan.owner).namespace
        folders = cluster.folders(name=name, measured=True) if looked else []
        row = store.find(orphan.owner)
        now = replace(
            around, objects=snapshot.objects, folders=folders, remembered=[row] if row else [], now=time.time()
        )
        if not any(one.kind is orphan.kind and one.removable for one in orphans.find_orphans(now)):
            raise KubernetesError(f"{orphan.owner} is in use again", "Nothing was removed.", code="in_use")
        if orphan.kind is Kind.WORKLOAD:
            cluster.removal.delete(orphan.owner, snapshot, TIMEOUT, on_step)
            return
        if orphan.kind is not Kind.RECORD:
            cluster.removal.purge(orphan.owner, snapshot, lock, TIMEOUT, on_step)
        store.forget([orphan.owner])
