"""Two installations on one host: neither sees, changes or removes what the other made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lfgpods import KubernetesError, Owner, PodManager, PodNotFoundError
from tests import scope
from tests.contract.sites import SharedHost, Site

pytestmark = pytest.mark.hostpath


@pytest.fixture
def neighbour(site: Site, tmp_path: Path) -> Iterator[PodManager]:
    """Another installation, with the same volume root and the same namespace for its locks."""
    settings = replace(site.settings, instance=f"{site.settings.instance or 'x'}-b", database=str(tmp_path / "b.db"))
    scope.register(str(settings.instance))
    with PodManager(settings, host=SharedHost(site.host)) as pods:
        yield pods


def test_gc_leaves_the_kept_volume_of_a_stranger_alone(site: Site) -> None:
    assert site.stranger.losses() == []
    assert [one for one in site.pods.gc() if site.stranger.owner == one.owner] == []
    found = site.pods.gc(apply=True, purge_older_than=0.0)
    assert [one for one in found if site.stranger.owner == one.owner and one.removed] == []
    assert site.stranger.losses() == []


def test_gc_leaves_a_folder_alone_whose_record_names_a_neighbour(site: Site, neighbour: PodManager) -> None:
    owner = site.new_owner()
    neighbour.ensure(owner, site.request)
    neighbour.delete(owner)
    name = neighbour.status(owner).namespace
    assert site.kubectl("delete", f"namespace/{name}", f"persistentvolume/{name}-pv").exit_code == 0
    found = [one for one in site.pods.gc(apply=True, purge_older_than=0.0) if one.name == name]
    assert [(one.removable, "its owner is unknown" in one.why) for one in found] == [(False, True)]
    assert site.sh('[ -d "$1" ]', site.folder(owner)).exit_code == 0
    neighbour.delete(owner, purge=True)


def test_list_and_sync_show_no_pod_of_a_neighbour(site: Site, neighbour: PodManager, owner: Owner) -> None:
    theirs = site.new_owner()
    site.pods.ensure(owner, site.request)
    neighbour.ensure(theirs, site.request, wait=False)
    assert {owner, theirs} & {pod.owner for pod in site.pods.list()} == {owner}
    assert {owner, theirs} & {pod.owner for pod in neighbour.list()} == {theirs}
    assert not {owner, theirs} & set(neighbour.sync().added)
    neighbour.delete(theirs, purge=True)


def test_an_owner_of_a_neighbour_is_refused(site: Site, neighbour: PodManager, owner: Owner) -> None:
    site.pods.ensure(owner, site.request)
    for gone in ((), (f"namespace/{site.pods.status(owner).namespace}",)):
        if gone:
            assert site.kubectl("delete", *gone).exit_code == 0
        for use in (neighbour.ensure, neighbour.status, lambda who: neighbour.delete(who, purge=True)):
            with pytest.raises(KubernetesError) as refused:
                use(owner)
            assert refused.value.code == "not_the_owner"
    assert site.pods.ensure(owner).status == "running"


def test_the_same_owner_may_move_to_a_neighbour_once_nothing_is_left(
    site: Site, neighbour: PodManager, owner: Owner
) -> None:
    site.pods.ensure(owner, site.request, wait=False)
    site.pods.delete(owner, purge=True)
    assert neighbour.ensure(owner, site.request, wait=False).owner == owner
    with pytest.raises(KubernetesError, match=r"belongs? to the instance"):
        site.pods.status(owner)
    neighbour.delete(owner, purge=True)
    with pytest.raises(PodNotFoundError):
        site.pods.status(owner)
