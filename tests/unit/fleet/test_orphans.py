"""Which things are orphans, and which orphans are removable: never a file, unless the caller names an age."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from lfgpods.core import processes
from lfgpods.core.owners import Owner
from lfgpods.core.pod import Pod, State
from lfgpods.core.settings import load_settings
from lfgpods.fleet.orphans import Inventory, Kind, Orphan, find_orphans
from lfgpods.kube.labels import DELETED_AT, MANAGED_BY, MANAGER, OWNER_ID, OWNER_KIND, PURGING, labels_for, owner_record
from lfgpods.kube.nodes import Node, node_affinity
from lfgpods.kube.objects import ListedObject, read_object
from lfgpods.pods.lock import PROCESS
from lfgpods.pods.objects import OwnerObjects
from lfgpods.pods.status import pod_of
from lfgpods.volumes.folders import Folder

ROOT = "/mnt/volumes"
NOW = 1_800_000_000.0
DAY = 86400.0
OWNER = Owner.project("My App")
NAMES = OWNER.names


def moment(days_ago: float) -> str:
    return datetime.fromtimestamp(NOW - days_ago * DAY, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(document: dict[str, Any]) -> ListedObject:
    return cast(ListedObject, read_object(document))


def make(
    kind: str,
    name: str,
    annotations: dict[str, str] | None = None,
    *,
    labels: dict[str, str] | None = None,
    spec: dict[str, Any] | None = None,
) -> ListedObject:
    """Make an object of KIND for OWNER, with additional ANNOTATIONS and LABELS, and with SPEC."""
    metadata: dict[str, Any] = {
        "name": name,
        "labels": labels_for(OWNER, NAMES) | (labels or {}),
        "annotations": {OWNER_ID: OWNER.id} | (annotations or {}),
    }
    if kind not in ("Namespace", "PersistentVolume"):
        metadata["namespace"] = NAMES.namespace
    fields: dict[str, Any] = {}
    if kind == "PersistentVolume":
        fields = {"hostPath": {"path": f"{ROOT}/{NAMES.namespace}"}, "claimRef": {"namespace": NAMES.namespace}}
    if kind == "Deployment":
        fields = {"template": {}}
    return read({"kind": kind, "metadata": metadata, "spec": fields | (spec or {})})


NAMESPACE = make("Namespace", NAMES.namespace)
VOLUME = make("PersistentVolume", NAMES.volume)
DEPLOYMENT = make("Deployment", NAMES.deployment)
SERVICE = make("Service", NAMES.service)
RECORD = owner_record(OWNER)


def folder(name: str = NAMES.namespace, *, owner: str = RECORD, days: float = 0, filled: bool = True) -> Folder:
    return Folder(name, owner, 12, int(NOW - days * DAY), filled)


def row() -> Pod:
    return pod_of(OWNER, NAMES, OwnerObjects(), "host", load_settings({}).defaults, ROOT)


def find(
    objects: list[ListedObject], folders: list[Folder], rows: list[Pod] | None = None, older_than: float | None = None
) -> list[Orphan]:
    return find_orphans(Inventory(objects, folders, rows or [], ROOT, NOW, older_than))


def summary(found: list[Orphan]) -> list[tuple[str, bool]]:
    return [(orphan.kind.value, orphan.removable) for orphan in found]


def test_a_pod_and_a_kept_volume_are_no_orphans() -> None:
    assert find([NAMESPACE, VOLUME, DEPLOYMENT, SERVICE], [folder()], [row()]) == []
    assert find([NAMESPACE, VOLUME], [folder(days=900)], [row()]) == []


@pytest.mark.parametrize(
    ("deleted", "changed", "older_than", "removable"),
    [(40, 60, 30, True), (40, 10, 30, False), (20, 60, 30, False), (40, 40, 41, False), (0, 0, 0, True)],
)
def test_a_kept_volume_is_removable_only_at_the_given_age(
    deleted: float, changed: float, older_than: float, removable: bool
) -> None:
    namespace = make("Namespace", NAMES.namespace, {DELETED_AT: moment(deleted)})
    found = find([namespace, VOLUME], [folder(days=changed)], older_than=older_than * DAY)
    assert summary(found) == ([("volume", True)] if removable else [])
    assert find([namespace, VOLUME, DEPLOYMENT], [folder(days=changed)], older_than=older_than * DAY) == []


def test_a_volume_that_was_used_after_its_deletion_counts_as_used() -> None:
    namespace = make("Namespace", NAMES.namespace, {DELETED_AT: moment(90)})
    used = replace(row(), status=State.RUNNING, last_used_at=moment(1))
    assert find([namespace, VOLUME], [folder(days=900)], [used], older_than=30 * DAY) == []


def test_a_volume_of_unknown_age_is_never_old() -> None:
    assert find([NAMESPACE, VOLUME], [Folder(NAMES.namespace, RECORD)], older_than=0.0) == []


def test_leftovers_of_interrupted_commands_are_removable() -> None:
    purging = make("PersistentVolume", NAMES.volume, {PURGING: "true"})
    assert summary(find([NAMESPACE], [])) == [("namespace", True)]
    assert summary(find([NAMESPACE], [folder(filled=False)])) == [("namespace", True)]
    assert summary(find([NAMESPACE, VOLUME, SERVICE], [folder()])) == [("workload", True)]
    assert summary(find([purging], [])) == [("volume", True)]
    assert summary(find([], [folder(f"{NAMES.namespace}.purging")])) == [("folder", True)]
    assert summary(find([], [folder(filled=False)])) == [("folder", True)]
    assert summary(find([], [], [row()])) == [("record", True)]


def test_files_are_not_removable() -> None:
    purging = make("PersistentVolume", NAMES.volume, {PURGING: "true"})
    assert find([NAMESPACE], [folder()]) == []
    assert summary(find([purging, NAMESPACE], [folder()])) == [("volume", False)]
    assert summary(find([VOLUME], [folder()])) == [("volume", False)]
    assert summary(find([VOLUME], [])) == [("volume", False)]
    assert summary(find([], [folder()])) == [("folder", False)]
    assert summary(find([], [folder(days=40)], older_than=30 * DAY)) == [("folder", True)]


def test_a_folder_on_another_node_is_neither_gone_nor_an_orphan() -> None:
    tied = {"nodeAffinity": node_affinity(Node("other", "other"))}
    elsewhere = make("PersistentVolume", NAMES.volume, spec=tied)
    inventory = Inventory([NAMESPACE, elsewhere], [], [], ROOT, NOW, older_than=0.0, node="this")
    assert find_orphans(inventory) == []
    assert summary(find_orphans(replace(inventory, node="other"))) == [("volume", False)]
    assert find_orphans(replace(inventory, node=None)) == []


def test_nothing_without_proof_of_its_owner_is_removable() -> None:
    label = {"labels": {MANAGED_BY: MANAGER}}
    assert summary(find([read({"kind": "Namespace", "metadata": {"name": "x", **label}})], [])) == [
        ("namespace", False)
    ]
    stranger = make("Namespace", "proj-other")
    assert summary(find([stranger], [], older_than=0.0)) == [("namespace", False)]
    for record in ("", "garbage", "[]", owner_record(Owner.project("another")), owner_record(OWNER, "staging")):
        assert summary(find([], [folder(owner=record, filled=False, days=900)], older_than=0.0)) == [("folder", False)]
    elsewhere = make("PersistentVolume", NAMES.volume, spec={"hostPath": {"path": f"/srv/{NAMES.namespace}"}})
    namespace = make("Namespace", NAMES.namespace, {DELETED_AT: moment(90)})
    assert find([namespace, elsewhere], [], older_than=0.0) == []


def test_a_folder_that_another_volume_uses_is_no_orphan() -> None:
    spec = {"claimRef": {"namespace": "other"}}
    other = make("PersistentVolume", "other-pv", labels={OWNER_KIND: "nonsense"}, spec=spec)
    assert [orphan.kind for orphan in find([other], [folder(filled=False)])] == [Kind.NAMESPACE]


def lease(process: str, days: float = 0) -> ListedObject:
    document = {
        "kind": "Lease",
        "metadata": {"name": f"lfgpods-{NAMES.namespace}", "resourceVersion": "1", "annotations": {PROCESS: process}},
        "spec": {"renewTime": moment(days)},
    }
    return read(document)


def test_an_owner_whose_lock_is_held_is_skipped() -> None:
    held = lease("another-machine:1:2")
    assert find([held, NAMESPACE, SERVICE], [folder(filled=False)], [row()], older_than=0.0) == []
    assert find([held], [folder(filled=False)], [row()]) == []


def test_the_lock_of_a_dead_holder_is_removable() -> None:
    home = processes.this_process().rpartition(":")[0].rpartition(":")[0]
    for left in (lease(f"{home}:999999999:1"), lease("another-machine:1:2", days=1.1)):
        assert summary(find([left], [])) == [("lock", True)]
