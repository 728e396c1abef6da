"""Volumes of a storage class, on the embedded host. Its only class is `embedded`, which deletes released volumes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lfgpods import Command, KubernetesError, Owner, PodManager, Request, TimeLimitError
from lfgpods.core.objects import Object
from lfgpods.core.operation import Operation
from lfgpods.hosts.local import LocalHost
from lfgpods.hosts.run import run
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.labels import OWNER_ID, PURGING, labels_for
from lfgpods.kube.nodes import Node, node_affinity
from lfgpods.kube.objects import KubeObject, PersistentVolume
from lfgpods.testing import EmbeddedLfgpods, Faults, embedded_host
from lfgpods.volumes import provisioned
from lfgpods.volumes.provisioned import ProvisionedVolumes
from tests.kube_objects import read_as

OWNER = Owner.project("my-app")
NAMES = OWNER.names
OF_CLASS = Request(storage_class="embedded")


@pytest.fixture
def embedded() -> Iterator[EmbeddedLfgpods]:
    with embedded_host({"LFGPODS_START_GRACE": "0"}) as lfgpods:
        yield lfgpods


def kubectl(lfgpods: EmbeddedLfgpods, *words: str) -> str:
    done = run(lfgpods.host, ("kubectl", *words))
    assert done.exit_code == 0, done.stderr
    return done.stdout.decode()


def volumes(lfgpods: EmbeddedLfgpods) -> list[Any]:
    return list(json.loads(kubectl(lfgpods, "get", "pv", "-o", "json"))["items"])


def write(pods: PodManager, text: str) -> None:
    assert pods.exec(OWNER, Command(f"echo {text} >kept"))


def kept(pods: PodManager) -> str:
    return pods.exec(OWNER, Command("cat kept")).stdout.decode().strip()


def made(lfgpods: EmbeddedLfgpods) -> Any:
    lfgpods.pods.ensure(OWNER, OF_CLASS)
    write(lfgpods.pods, "precious")
    (volume,) = volumes(lfgpods)
    return volume


def test_the_cluster_makes_the_volume_which_outlives_its_claim(embedded: EmbeddedLfgpods) -> None:
    volume = made(embedded)
    pod = embedded.pods.status(OWNER)
    assert (pod.spec.storage_class, pod.volume) == ("embedded", f"persistentvolume/{volume['metadata']['name']}")
    assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
    assert volume["metadata"]["annotations"][OWNER_ID] == OWNER.id
    assert not Path(embedded.settings.volume_root).exists()
    assert embedded.pods.list() == [pod]

    embedded.pods.delete(OWNER)
    assert embedded.pods.status(OWNER).status == "deleted"
    assert embedded.pods.ensure(OWNER).volume == pod.volume
    assert kept(embedded.pods) == "precious"


def test_no_file_is_lost_with_the_namespace_or_the_claim(embedded: EmbeddedLfgpods) -> None:
    name = made(embedded)["metadata"]["name"]
    kubectl(embedded, "delete", "namespace", NAMES.namespace)
    assert [pod.status for pod in embedded.pods.list()] == ["deleted"]
    again = embedded.pods.ensure(OWNER)
    assert (kept(embedded.pods), again.volume) == ("precious", f"persistentvolume/{name}")
    assert again.notices == ("the namespace was gone; the volume with its files was bound again",)

    embedded.pods.delete(OWNER)
    kubectl(embedded, "delete", f"pvc/{NAMES.claim}", "-n", NAMES.namespace)
    assert embedded.pods.ensure(OWNER).notices == ("the claim was gone; the volume with its files was bound again",)
    assert (kept(embedded.pods), len(volumes(embedded))) == ("precious", 1)


def test_a_purge_removes_the_disk_too(embedded: EmbeddedLfgpods) -> None:
    folder = Path(made(embedded)["spec"]["hostPath"]["path"])
    assert folder.is_dir()
    embedded.pods.delete(OWNER, purge=True)
    assert (volumes(embedded), folder.exists(), embedded.pods.list()) == ([], False, [])

    folder = Path(made(embedded)["spec"]["hostPath"]["path"])
    kubectl(embedded, "delete", "namespace", NAMES.namespace)
    embedded.pods.delete(OWNER, purge=True)
    assert (volumes(embedded), folder.exists()) == ([], False)


def test_an_interrupted_purge_is_undone_or_completed(embedded: EmbeddedLfgpods) -> None:
    volume = made(embedded)
    name = f"pv/{volume['metadata']['name']}"
    begun = json.dumps(
        {"metadata": {"annotations": {PURGING: "true"}}, "spec": {"persistentVolumeReclaimPolicy": "Delete"}}
    )
    embedded.pods.delete(OWNER)
    kubectl(embedded, "patch", name, "--type=merge", "-p", begun)
    assert [(orphan.kind, orphan.removable) for orphan in embedded.pods.gc()] == [("volume", False)]
    assert "the files are still there" in embedded.pods.ensure(OWNER).notices[0]
    assert kept(embedded.pods) == "precious"
    (volume,) = volumes(embedded)
    assert (volume["spec"]["persistentVolumeReclaimPolicy"], PURGING in volume["metadata"]["annotations"]) == (
        "Retain",
        False,
    )

    kubectl(embedded, "delete", "namespace", NAMES.namespace)
    kubectl(embedded, "annotate", name, f"{PURGING}=true")
    assert "was completed" in embedded.pods.ensure(OWNER).notices[0]
    assert embedded.pods.exec(OWNER, Command("ls")).stdout == b""


def test_a_volume_that_no_claim_took_after_it_was_freed_can_be_purged(embedded: EmbeddedLfgpods) -> None:
    name = f"pv/{made(embedded)['metadata']['name']}"
    kubectl(embedded, "delete", "namespace", NAMES.namespace)
    kubectl(embedded, "patch", name, "--type=merge", "-p", '{"spec":{"claimRef":{"uid":null}}}')
    assert volumes(embedded)[0]["status"]["phase"] == "Available"
    embedded.pods.delete(OWNER, purge=True, timeout=3)
    assert volumes(embedded) == []


def test_a_volume_is_retained_even_if_its_pod_fails(embedded: EmbeddedLfgpods) -> None:
    embedded.host.faults = Faults(crash_loop=True)
    with pytest.raises(KubernetesError):
        embedded.pods.ensure(OWNER, OF_CLASS)
    assert [one["spec"]["persistentVolumeReclaimPolicy"] for one in volumes(embedded)] == ["Retain"]


def test_status_retains_a_volume_that_an_interrupted_create_left_unretained(embedded: EmbeddedLfgpods) -> None:
    name = f"pv/{made(embedded)['metadata']['name']}"
    given_up = '{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}'
    kubectl(embedded, "patch", name, "--type=merge", "-p", given_up)
    embedded.pods.status(OWNER)
    assert volumes(embedded)[0]["spec"]["persistentVolumeReclaimPolicy"] == "Retain"


@pytest.mark.parametrize("first", [OF_CLASS, Request()])
def test_an_owner_keeps_its_first_kind_of_storage(embedded: EmbeddedLfgpods, first: Request) -> None:
    other = Request(storage_class="" if first.storage_class else "embedded")
    before = embedded.pods.ensure(OWNER, first)
    write(embedded.pods, "precious")
    (told,) = embedded.pods.ensure(OWNER, other).differences
    assert told.startswith("storage is ")
    for update in (False, True):
        embedded.pods.delete(OWNER)
        (told,) = embedded.pods.ensure(OWNER, other, update=update).differences
        assert "cannot be changed" in told
        assert (embedded.pods.status(OWNER).volume, kept(embedded.pods)) == (before.volume, "precious")
    assert len(volumes(embedded)) == 1
    kubectl(embedded, "delete", "namespace", NAMES.namespace)
    assert "cannot be changed" in embedded.pods.ensure(OWNER, other).differences[0]
    assert (len(volumes(embedded)), kept(embedded.pods)) == (1, "precious")


def test_a_folder_that_only_the_store_remembers_is_not_replaced_by_an_empty_volume(embedded: EmbeddedLfgpods) -> None:
    embedded.pods.ensure(OWNER)
    write(embedded.pods, "precious")
    embedded.pods.delete(OWNER)
    kubectl(embedded, "delete", f"namespace/{NAMES.namespace}", f"pv/{NAMES.volume}")
    with pytest.raises(KubernetesError) as refused:
        embedded.pods.ensure(OWNER, OF_CLASS)
    assert refused.value.code == "other_storage"
    embedded.pods.ensure(OWNER, Request(storage_class=""))
    assert kept(embedded.pods) == "precious"


def test_another_machine_without_a_storage_class_in_its_settings_finds_the_volume(
    embedded: EmbeddedLfgpods, tmp_path: Path
) -> None:
    made(embedded)
    kubectl(embedded, "delete", "namespace", NAMES.namespace)
    elsewhere = replace(embedded.settings, database=str(tmp_path / "other.db"))
    with PodManager(elsewhere, host=embedded.host) as pods:
        pods.ensure(OWNER)
        assert kept(pods) == "precious"


def test_a_folder_on_a_lost_node_is_neither_used_nor_purged(embedded: EmbeddedLfgpods) -> None:
    embedded.pods.ensure(OWNER)
    write(embedded.pods, "precious")
    embedded.pods.delete(OWNER)
    tie = json.dumps({"spec": {"nodeAffinity": node_affinity(Node("lost", "lost"))}})
    kubectl(embedded, "patch", f"pv/{NAMES.volume}", "--type=merge", "-p", tie)
    with pytest.raises(KubernetesError, match="no such node") as refused:
        embedded.pods.ensure(OWNER)
    assert refused.value.code == "node_unreachable"
    with pytest.raises(KubernetesError, match="on the node lost") as refused:
        embedded.pods.delete(OWNER, purge=True)
    assert (refused.value.code, "gone for good" in refused.value.hint) == ("other_node", True)
    assert Path(embedded.settings.volume_root, NAMES.namespace, "kept").read_text() == "precious\n"
    assert embedded.pods.sync().problems == ()
    assert embedded.pods.gc(purge_older_than=0.0001) == []
    assert embedded.pods.status(OWNER).status == "deleted"


def test_an_unknown_storage_class_is_an_error_and_nothing_changes(embedded: EmbeddedLfgpods) -> None:
    with pytest.raises(KubernetesError, match="no storage class nosuch") as refused:
        embedded.pods.ensure(OWNER, Request(storage_class="nosuch"))
    assert (refused.value.code, "embedded" in refused.value.hint) == ("no_such_storage_class", True)
    assert kubectl(embedded, "get", "namespaces", "-o", "name") == "namespace/default\n"


def test_the_next_command_marks_an_unmarked_volume_and_gc_leaves_it_alone(embedded: EmbeddedLfgpods) -> None:
    name = made(embedded)["metadata"]["name"]
    forgotten = {
        "metadata": {"labels": dict.fromkeys(("app.kubernetes.io/managed-by", "lfgpods.io/owner"))},
        "spec": {"persistentVolumeReclaimPolicy": "Delete"},
    }

    def forget() -> None:
        kubectl(embedded, "patch", f"pv/{name}", "--type=merge", "-p", json.dumps(forgotten))

    def is_marked() -> bool:
        (volume,) = volumes(embedded)
        return bool(volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain" and volume["metadata"]["labels"])

    forget()
    assert not is_marked()
    embedded.pods.ensure(OWNER)
    assert is_marked()
    forget()
    kubectl(embedded, "delete", f"deployment/{NAMES.deployment}", "-n", NAMES.namespace)
    assert [orphan.removable for orphan in embedded.pods.gc(apply=True) if orphan.kind == "volume"] == [False]
    embedded.pods.delete(OWNER)
    assert is_marked()
    forget()
    embedded.pods.delete(OWNER, purge=True)
    assert volumes(embedded) == []


def test_gc_removes_only_an_old_volume_and_sync_rebuilds_the_store(embedded: EmbeddedLfgpods, tmp_path: Path) -> None:
    made(embedded)
    embedded.pods.delete(OWNER)
    assert embedded.pods.gc() == []
    elsewhere = replace(embedded.settings, database=str(tmp_path / "other.db"))
    with PodManager(elsewhere, host=embedded.host) as pods:
        assert pods.sync().added == (OWNER,)
        assert pods.sync().problems == ()
        assert [pod.spec.storage_class for pod in pods.list()] == ["embedded"]
        assert pods.gc(apply=True, purge_older_than=3600) == []
        (orphan,) = pods.gc(apply=True, purge_older_than=0.0001)
        assert (orphan.removed, orphan.error) == (True, "")
    assert volumes(embedded) == []


class Scripted(Kubectl):
    """Holds volumes like a cluster whose provisioner and binder do nothing."""

    def __init__(self, *held: PersistentVolume) -> None:
        super().__init__(LocalHost())
        self.held = {volume.metadata.name: volume for volume in held}
        self.patches: list[tuple[str, Object]] = []

    def get(self, references: Sequence[str], namespace: str) -> list[KubeObject]:
        names = [reference.partition("/")[2] for reference in references]
        return [self.held[name] for name in names if name in self.held]

    def get_all(self, kind: str, selector: str = "") -> list[KubeObject]:
        return list(self.held.values())

    def patch(self, reference: str, namespace: str, patch: Object) -> KubeObject:
        self.patches.append((reference, patch))
        return self.held[reference.partition("/")[2]]


def a_volume(
    name: str, *, phase: str = "Released", policy: str = "Delete", owner_id: str = OWNER.id, **status: str
) -> PersistentVolume:
    claim = {"namespace": NAMES.namespace, "name": NAMES.claim, "uid": "u"}
    metadata = {"name": name, "labels": labels_for(OWNER, NAMES), "annotations": {OWNER_ID: owner_id}}
    spec = {"claimRef": claim, "persistentVolumeReclaimPolicy": policy}
    return read_as(PersistentVolume, {"metadata": metadata, "spec": spec, "status": {"phase": phase, **status}})


def test_a_purge_reports_a_disk_that_the_provisioner_does_not_remove() -> None:
    stuck = a_volume("pvc-1", phase="Failed", message="the disk is in use")
    with pytest.raises(TimeLimitError) as remains:
        ProvisionedVolumes(Scripted(stuck)).end_purge(stuck, Operation(0.0))
    assert "pvc-1 with its disk is still there (Failed: the disk is in use)" in remains.value.message


def test_a_volume_that_is_retained_during_its_purge_is_purged_all_the_same() -> None:
    kept_meanwhile = a_volume("pvc-1", policy="Retain")
    kubectl = Scripted(kept_meanwhile)
    with pytest.raises(TimeLimitError):
        ProvisionedVolumes(kubectl).end_purge(kept_meanwhile, Operation(0.0))
    assert [patch["spec"] for _, patch in kubectl.patches] == [{"persistentVolumeReclaimPolicy": "Delete"}]


def test_of_two_volumes_of_one_owner_neither_is_used() -> None:
    one, two = a_volume("pvc-1"), a_volume("pvc-2")
    assert ProvisionedVolumes(Scripted(one)).left_behind(OWNER) is one
    with pytest.raises(KubernetesError, match="pvc-1 and pvc-2") as refused:
        ProvisionedVolumes(Scripted(one, two)).left_behind(OWNER)
    assert refused.value.code == "ambiguous_volume"
    of_another = a_volume("pvc-2", owner_id="another")
    assert ProvisionedVolumes(Scripted(one, of_another)).left_behind(OWNER) is one


def test_a_volume_that_does_not_become_available_is_a_time_limit_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provisioned, "AVAILABLE_WITHIN", 0.0)
    kubectl = Scripted(a_volume("pvc-1"))
    with pytest.raises(TimeLimitError, match="did not become free"):
        ProvisionedVolumes(kubectl).free(kubectl.held["pvc-1"], Operation(0.0))
    assert kubectl.patches[0][1] == {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}}
