"""Volumes that the cluster makes by a storage class: they outlive their pod, claim and namespace, until a purge."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import pytest

from lfgpods import Command, KubernetesError, Owner, PodManager, PodNotFoundError, Request
from tests.cluster import Cluster, provisioner
from tests.lab import Lab, open_lab
from tests.scope import RUN

pytestmark = pytest.mark.real

CLASSES = [provisioner.IMMEDIATE, provisioner.FIRST_CONSUMER]


@pytest.fixture(scope="module")
def lab(cluster: Cluster | None, provisioning: None, tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A scope of its own: once there was such a volume, every first look in a scope costs one question more."""
    return open_lab(cluster, tmp_path_factory.mktemp("classes"), "classes")


@pytest.fixture
def owner(request: pytest.FixtureRequest) -> Owner:
    return Owner.project(f"class-{zlib.crc32(request.node.name.encode())}-{RUN}")


def volumes_of(lab: Lab, owner: Owner) -> list[Any]:
    found = json.loads(lab.kubectl("get", "persistentvolumes", "-o", "json"))["items"]
    return [v for v in found if (v["spec"].get("claimRef") or {}).get("namespace") == owner.names.namespace]


def write(manager: PodManager, owner: Owner, text: str) -> None:
    assert manager.exec(owner, Command(f"echo {text} >kept && sync"))


def kept(manager: PodManager, owner: Owner) -> str:
    return manager.exec(owner, Command("cat kept")).stdout.decode().strip()


@pytest.mark.parametrize("name", CLASSES)
def test_a_volume_outlives_everything_but_a_purge(lab: Lab, owner: Owner, tmp_path: Path, name: str) -> None:
    namespace = owner.names.namespace
    with lab.manager() as manager:
        pod = manager.ensure(owner, Request(storage_class=name))
        write(manager, owner, "precious")
        (volume,) = volumes_of(lab, owner)
        assert (pod.spec.storage_class, pod.volume) == (name, f"persistentvolume/{volume['metadata']['name']}")
        assert volume["spec"]["persistentVolumeReclaimPolicy"] == "Retain"
        assert volume["metadata"]["annotations"]["lfgpods.io/owner-id"] == owner.id
        assert lab.on_host("test", "-e", owner.names.folder(lab.settings().volume_root)).exit_code == 1

        manager.delete(owner)
        assert manager.status(owner).status == "deleted"
        again = manager.ensure(owner, Request(storage_class=""))
        assert "cannot be changed" in again.differences[0]
        assert (again.volume, kept(manager, owner)) == (pod.volume, "precious")

        lab.kubectl("delete", f"namespace/{namespace}")
        assert [(one.status, one.volume) for one in manager.list() if one.owner == owner] == [("deleted", pod.volume)]
    with lab.manager(LFGPODS_DATABASE=str(tmp_path / "other.db")) as elsewhere:
        assert owner in elsewhere.sync().added
        found = elsewhere.ensure(owner)
        assert (found.volume, kept(elsewhere, owner)) == (pod.volume, "precious")
        assert "bound again" in found.notices[0]
        assert len(volumes_of(lab, owner)) == 1
        assert not [orphan for orphan in elsewhere.gc(purge_older_than=0.001) if orphan.owner == owner]

        elsewhere.delete(owner, purge=True)
        assert volumes_of(lab, owner) == []
        assert not provisioner.folder_of(volume["metadata"]["name"]).exists()
        with pytest.raises(PodNotFoundError):
            elsewhere.status(owner)


def test_a_volume_without_its_namespace_is_purged_with_its_disk(lab: Lab, owner: Owner) -> None:
    with lab.manager() as manager:
        manager.ensure(owner, Request(storage_class=provisioner.IMMEDIATE))
        (volume,) = volumes_of(lab, owner)
        lab.kubectl("delete", f"namespace/{owner.names.namespace}")
        (orphan,) = (one for one in manager.gc(purge_older_than=0.001) if one.owner == owner)
        assert (orphan.removable, orphan.name) == (False, volume["metadata"]["name"])
        manager.delete(owner, purge=True)
    assert volumes_of(lab, owner) == []
    assert not provisioner.folder_of(volume["metadata"]["name"]).exists()


def test_an_unknown_storage_class_is_an_error_that_lists_the_known_ones(lab: Lab, owner: Owner) -> None:
    with lab.manager() as manager, pytest.raises(KubernetesError, match="no storage class nosuch") as refused:
        manager.ensure(owner, Request(storage_class="nosuch"))
    assert all(name in refused.value.hint for name in CLASSES)
    assert lab.kubectl("get", "namespace", owner.names.namespace, "--ignore-not-found") == ""
