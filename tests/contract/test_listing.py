"""`list` in pages: the same answer whatever the size of a page, and whatever changes between two of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from lfgpods import Owner, State
from lfgpods.kube import lists
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.labels import MANAGED_BY, OWNER, labels_for, selector
from lfgpods.pods import reader
from tests.contract.sites import Site

pytestmark = pytest.mark.usefixtures("_one_at_a_time")


@pytest.fixture
def _one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lfgpods.hosts.run.MAX_PARALLEL", 1)


def apply(site: Site, *objects: dict[str, Any]) -> None:
    payload = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}).encode()
    done = site.kubectl("apply", "--server-side", "-f", "-", stdin=payload)
    assert done.exit_code == 0, done.stderr


def make_volumes(site: Site, owners: Sequence[Owner]) -> None:
    """A PersistentVolume for each of OWNERS, as a create that was cut short leaves one; nothing is on the host."""
    names = [owner.names for owner in owners]
    apply(
        site,
        *(
            {
                "apiVersion": "v1",
                "kind": "PersistentVolume",
                "metadata": {"name": name.volume, "labels": labels_for(owner, name, site.settings.instance)},
                "spec": {
                    "capacity": {"storage": "1Mi"},
                    "accessModes": ["ReadWriteOnce"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "storageClassName": "",
                    "claimRef": {"namespace": name.namespace, "name": name.claim},
                    "hostPath": {"path": f"{site.settings.volume_root}/{name.namespace}", "type": "Directory"},
                },
            }
            for owner, name in zip(owners, names, strict=True)
        ),
    )


@pytest.fixture
def resident(site: Site) -> Owner:
    """An owner whose pod runs: one of this file's own, as a crash on the embedded host is a crash of all pods."""
    return site.resident("listing")


@pytest.fixture
def kept(site: Site, owner: Owner) -> Iterator[Sequence[Owner]]:
    """Five owners with a volume each, which are taken away again."""
    owners = [owner, *(site.new_owner() for _ in range(4))]
    make_volumes(site, owners)
    yield owners
    site.kubectl("delete", *(f"persistentvolume/{one.names.volume}" for one in owners), "--wait=false")


@pytest.mark.parametrize("size", [1, 2, 5, 5_000])
def test_small_pages_list_the_same_as_one_kubectl(
    site: Site, kept: Sequence[Owner], resident: Owner, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    everyone = {resident, *kept}
    monkeypatch.setattr(reader, "SINGLE_LIST_MAX_OWNERS", 1_000)
    site.pods.list()
    before = {pod.owner: pod for pod in site.pods.list() if pod.owner in everyone}
    assert before.keys() == everyone
    monkeypatch.setattr(reader, "SINGLE_LIST_MAX_OWNERS", 0)
    monkeypatch.setattr(lists, "PAGE", size)
    assert {pod.owner: pod for pod in site.pods.list() if pod.owner in everyone} == before
    assert before[resident].status is State.RUNNING


def test_objects_that_come_and_go_between_two_pages_hide_no_others(
    site: Site, kept: Sequence[Owner], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "PAGE", 2)
    kubectl = Kubectl(site.host, site.settings.kubectl)
    turned: list[int] = []
    turn: Callable[[Kubectl, Any, float], None] = Kubectl._next_pages

    def and_change(self: Kubectl, lists: Any, idle_timeout: float) -> None:
        turn(self, lists, idle_timeout)
        turned.append(len(turned))
        if len(turned) == 1:
            gone = f"persistentvolume/{kept[0].names.volume}"
            assert site.kubectl("delete", gone, "--wait=false").exit_code == 0

    monkeypatch.setattr(Kubectl, "_next_pages", and_change)
    found = [
        obj.metadata.labels[OWNER]
        for obj in kubectl.get_everywhere(["persistentvolumes"], selector(site.settings.instance))
    ]
    assert len(turned) > 1
    mine = [found.count(owner.names.slug) for owner in kept]
    assert mine[1:] == [1, 1, 1, 1]
    assert mine[0] in (0, 1)


def test_a_list_of_one_owner_and_of_one_status(site: Site, kept: Sequence[Owner], resident: Owner) -> None:
    assert site.pods.list(resident) == [site.pods.status(resident)]
    assert site.pods.list(resident, status=State.RUNNING) == site.pods.list(resident)
    assert site.pods.list(resident, status=State.STOPPED) == []
    assert site.pods.list(site.new_owner()) == []
    running = [pod.owner for pod in site.pods.list(status=State.RUNNING)]
    assert resident in running
    assert not set(kept) & set(running)
    deleted = [pod.owner for pod in site.pods.list(status=State.DELETED)]
    assert set(kept) <= set(deleted)
    assert resident not in deleted


def test_a_page_holds_no_foreign_objects(site: Site, resident: Owner) -> None:
    objects = Kubectl(site.host, site.settings.kubectl).get_everywhere(
        ["pods", "leases", "namespaces"], selector(site.settings.instance)
    )
    assert {obj.metadata.labels[MANAGED_BY] for obj in objects} == {"lfgpods"}
    assert resident.names.namespace in [obj.metadata.name for obj in objects if obj.kind == "Namespace"]
