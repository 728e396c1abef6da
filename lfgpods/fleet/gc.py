"""Remove orphans, but only those that are proven to be lfgpods' own."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lfgpods.core.changes import Action
from lfgpods.core.errors import KubernetesError, LfgpodsError
from lfgpods.core.operation import Operation
from lfgpods.core.owners import names_of
from lfgpods.core.progress import OnStep
from lfgpods.core.settings import Settings
from lfgpods.fleet.orphans import KINDS, Inventory, Kind, Orphan, find_orphans, is_folder
from lfgpods.kube.kinds import of_kind
from lfgpods.kube.nodes import nodes_of
from lfgpods.pods.reader import PodReader
from lfgpods.pods.remover import TIMEOUT, PodRemover
from lfgpods.store.journal import record_change

if TYPE_CHECKING:
    from lfgpods.store.store import Store


class GarbageCollector:
    """Finds orphans in cluster, store and volume root, and removes them."""

    def __init__(self, settings: Settings, reader: PodReader, remover: PodRemover, store: Callable[[], Store]) -> None:
        self._settings = settings
        self._reader = reader
        self._remover = remover
        self._store = store

    def collect(self, *, apply: bool, purge_older_than: float | None, on_step: OnStep) -> Sequence[Orphan]:
        """Return the orphans. With APPLY, remove the removable ones; each result says whether that succeeded.

        Kept volumes of deleted pods count only if they have been unused for PURGE_OLDER_THAN seconds.
        """
        on_step("reading the current state")
        inventory = self.take_inventory(purge_older_than)
        found = find_orphans(inventory)
        if not apply:
            return found
        return [self._try_to_remove(orphan, inventory, on_step) if orphan.removable else orphan for orphan in found]

    def take_inventory(self, older_than: float | None) -> Inventory:
        """Collect everything that may be an orphan. OLDER_THAN in seconds, or None to skip kept volumes."""
        remembered = self._store().all()
        objects = self._reader.everything(KINDS, len(remembered))
        volumes = of_kind(objects, "PersistentVolume")
        looked = self._remover.looks_for_folders or any(map(is_folder, volumes))
        here = self._reader.placement.node_here() if any(map(nodes_of, volumes)) else None
        return Inventory(
            objects=objects,
            folders=self._reader.folders(measured=True) if looked else [],
            remembered=remembered,
            volume_root=self._settings.volume_root,
            now=time.time(),
            older_than=older_than,
            node=here.hostname if here else None,
            instance=self._settings.instance,
        )

    def _try_to_remove(self, orphan: Orphan, inventory: Inventory, on_step: OnStep) -> Orphan:
        """Remove ORPHAN. Returns it with the outcome."""
        try:
            with record_change(self._store(), Action.GC, orphan.owner, f"{orphan.kind} {orphan.name}"):
                self._remove(orphan, inventory, on_step)
        except LfgpodsError as error:
            return replace(orphan, error=error.message)
        return replace(orphan, removed=True)

    def _remove(self, orphan: Orphan, inventory: Inventory, on_step: OnStep) -> None:
        """Remove ORPHAN if a second look, under its owner's lock, finds it again."""
        if orphan.kind is Kind.LOCK:
            namespace, _, token = orphan.proof.partition("/")
            self._remover.remove_lock(namespace, token)
        elif orphan.owner is None:
            self._remover.remove_set_aside(orphan.name)
        else:
            with self._reader.locked(orphan.owner, Operation(TIMEOUT, on_step)) as (lock, objects):
                operation = Operation(TIMEOUT, on_step)
                looked = self._remover.looks_for_folders or not objects.provisioned
                name = names_of(orphan.owner).namespace
                row = self._store().find(orphan.owner)
                now = replace(
                    inventory,
                    objects=objects.existing,
                    folders=self._reader.folders(name=name, measured=True) if looked else [],
                    remembered=[row] if row else [],
                    now=time.time(),
                )
                if not any(one.kind is orphan.kind and one.removable for one in find_orphans(now)):
                    raise KubernetesError(f"{orphan.owner} is in use again", "Nothing was removed.", code="in_use")
                if orphan.kind is Kind.WORKLOAD:
                    self._remover.delete(orphan.owner, objects, operation)
                    return
                if orphan.kind is not Kind.RECORD:
                    self._remover.purge(orphan.owner, objects, lock, operation)
                self._store().forget([orphan.owner])
