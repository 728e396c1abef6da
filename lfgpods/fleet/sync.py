"""Compare store, cluster and volume folders, and repair the store. The cluster is the source of truth."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lfgpods.core.owners import Owner
from lfgpods.core.pod import Pod, State
from lfgpods.pods.reader import PodReader
from lfgpods.pods.remover import PodRemover

if TYPE_CHECKING:
    from lfgpods.store.store import Store


@dataclass(frozen=True)
class Synced:
    """The changes of a sync to the store, and problems that need attention, in words."""

    pods: int
    added: tuple[Owner, ...]
    changed: tuple[Owner, ...]
    removed: tuple[Owner, ...]
    problems: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """The stable fields of the JSON and YAML output."""
        return {
            "pods": self.pods,
            "added": [f"{owner.kind}/{owner.id}" for owner in self.added],
            "changed": [f"{owner.kind}/{owner.id}" for owner in self.changed],
            "removed": [f"{owner.kind}/{owner.id}" for owner in self.removed],
            "problems": list(self.problems),
        }


def reconcile(store: Store, before: Sequence[Pod], found: Sequence[Pod]) -> tuple[list[Owner], ...]:
    """Replace BEFORE in the store by the pods FOUND in the cluster. Returns the owners added, changed and removed.

    Keeps the row of a pod that is being created, because it may not be in the cluster yet.
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


def sync(reader: PodReader, remover: PodRemover, store: Store, volume_root: str) -> Synced:
    """Compare store, cluster and volume folders, and repair the store. Rebuilds an empty one."""
    before = store.all()
    found = reader.pods(len(before))
    here = reader.placement.node_here() if any(pod.volume_nodes for pod in found) else None
    looked = remover.looks_for_folders or any(posixpath.dirname(pod.volume) == volume_root for pod in found)
    folders = {folder.name for folder in reader.folders()} if looked else set()
    added, changed, removed = reconcile(store, before, found)
    problems = [
        f"the volume folder {pod.volume} of {pod.owner} is missing"
        for pod in found
        if posixpath.dirname(pod.volume) == volume_root
        and pod.namespace not in folders
        and (not pod.volume_nodes or (here and here.hostname in pod.volume_nodes))
    ]
    unused = len(folders - {pod.namespace for pod in found})
    if unused:
        problems.append(f"{unused} volume folder{'s' if unused > 1 else ''} without a volume; run lfgpods gc")
    return Synced(len(found), tuple(added), tuple(changed), tuple(removed), tuple(problems))
