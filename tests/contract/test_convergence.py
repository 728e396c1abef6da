"""Whatever was cut short, lost or contended: the next command finishes it or undoes it, and no file is lost."""

from __future__ import annotations

import json
import posixpath
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lfgpods import (
    Command,
    KubernetesError,
    OutcomeUnknownError,
    Owner,
    PodManager,
    PodNotFoundError,
    State,
    TimeLimitError,
)
from lfgpods.core import processes
from lfgpods.core.changes import Action, Outcome
from lfgpods.core.errors import VolumeError
from lfgpods.core.operation import Operation
from lfgpods.fleet.gc import GarbageCollector
from lfgpods.hosts.base import Host
from lfgpods.kube.labels import DELETED_AT
from lfgpods.pods.lock import OwnerLock
from lfgpods.pods.reader import PodReader
from lfgpods.volumes import folders
from lfgpods.volumes.folders import Presence
from tests.contract.sites import SharedHost, Site


@pytest.fixture
def forgetful(site: Site, tmp_path: Path) -> Iterator[PodManager]:
    """A PodManager on the same host whose store is empty, as on another machine."""
    settings = replace(site.settings, database=str(tmp_path / "empty.db"))
    with PodManager(settings, host=SharedHost(site.host)) as pods:
        yield pods


def lock_of(site: Site, owner: Owner, timeout: float = 0.5) -> OwnerLock:
    reader = PodReader(site.host, site.settings)
    namespace, instance = site.settings.lock_namespace, site.settings.instance
    return OwnerLock(reader.kubectl, owner.names, Operation(timeout), namespace=namespace, instance=instance)


def leases(site: Site, owner: Owner) -> str:
    name = f"lease/lfgpods-{owner.names.namespace}"
    found = site.kubectl("get", name, "-n", site.settings.lock_namespace, "--ignore-not-found", "-o", "name")
    return found.stdout.decode()


def write_file(site: Site, owner: Owner) -> None:
    assert site.pods.exec(owner, Command("echo precious > file && sync"))


def file_is_there(site: Site, owner: Owner) -> bool:
    return site.pods.exec(owner, Command("cat file")).stdout == b"precious\n"


def test_only_one_caller_changes_an_owner_at_a_time(site: Site, owner: Owner) -> None:
    first, second = lock_of(site, owner), lock_of(site, owner)
    first.take(["deployment/none"])
    try:
        with pytest.raises(TimeLimitError, match="pid"):
            second.take(["deployment/none"])
        with pytest.raises(TimeLimitError, match="is still changing"):
            site.pods.ensure(owner, site.request, timeout=0.5)
        assert site.leftovers(owner) == []
    finally:
        first.release()
    second.take(["deployment/none"])
    second.check()
    second.release()
    assert leases(site, owner) == ""
    with pytest.raises(KubernetesError, match="lost"):
        second.check()


def test_the_lock_of_a_dead_process_is_taken_over_at_once(
    site: Site, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot, namespace, _, _ = processes.this_process().split(":")
    with monkeypatch.context() as patched:
        patched.setattr(processes, "this_process", lambda: f"{boot}:{namespace}:999999999:1")
        lock_of(site, owner).take(["deployment/none"])  # and nobody ever gives it back
    assert leases(site, owner)
    assert site.pods.ensure(owner, site.request).status is State.RUNNING
    assert leases(site, owner) == ""


@pytest.mark.hostpath
def test_a_create_undoes_a_purge_that_was_interrupted_before_it_touched_a_file(
    site: Site, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pods.ensure(owner, site.request)
    write_file(site, owner)
    _cut_purge_short(site, owner, monkeypatch)
    pod = site.pods.ensure(owner, site.request)
    assert file_is_there(site, owner)
    assert any("interrupted before it touched a file" in notice for notice in pod.notices)
    site.pods.delete(owner, purge=True)
    assert site.leftovers(owner) == []


@pytest.mark.hostpath
def test_a_purge_that_was_interrupted_after_it_set_the_files_aside_is_completed(
    site: Site, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.pods.ensure(owner, site.request)
    write_file(site, owner)
    _cut_purge_short(site, owner, monkeypatch)
    folder = site.folder(owner)
    assert site.sh('mv "$1" "$1.purging"', folder).exit_code == 0
    pod = site.pods.ensure(owner, site.request)
    assert site.pods.exec(owner, Command("ls -A")).stdout == b""
    assert any("was completed" in notice for notice in pod.notices)
    assert site.sh('[ -e "$1.purging" ]', folder).exit_code == 1


def _cut_purge_short(site: Site, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    purge = folders.purge

    def cut_short(host: Host, volume_root: str, name: str, *, sudo: bool = False) -> bool:
        if name == owner.names.namespace:
            raise VolumeError("interrupted")
        return purge(host, volume_root, name, sudo=sudo)  # another test's, in the background

    with monkeypatch.context() as patched:
        patched.setattr(folders, "purge", cut_short)
        with pytest.raises(VolumeError, match="interrupted"):
            site.pods.delete(owner, purge=True)
    assert site.pods.history(owner)[0].outcome is Outcome.FAILED


@pytest.mark.hostpath
def test_a_volume_that_lost_its_claim_or_namespace_is_found_and_bound_again(site: Site, owner: Owner) -> None:
    names = owner.names
    assert site.pods.ensure(owner, site.request).notices == ()
    write_file(site, owner)
    site.pods.delete(owner)
    assert site.pods.ensure(owner).notices == ()
    site.pods.delete(owner)
    for gone, words in (
        ([f"namespace/{names.namespace}"], "the namespace was gone"),
        ([f"persistentvolumeclaim/{names.claim}"], "the claim was gone"),
        ([f"namespace/{names.namespace}", f"persistentvolume/{names.volume}"], "the PersistentVolume was gone"),
    ):
        site.pods.delete(owner)
        assert site.kubectl("delete", *gone, "-n", names.namespace).exit_code == 0
        pod = site.pods.ensure(owner, site.request)
        assert any(words in notice for notice in pod.notices), (words, pod.notices)
        assert site.folder(owner) in pod.notices[0]
        assert file_is_there(site, owner)


def test_an_empty_store_is_rebuilt_whole(site: Site, owner: Owner, forgetful: PodManager) -> None:
    names = owner.names
    pod = site.pods.ensure(owner, site.request)
    synced = forgetful.sync()
    assert owner in synced.added
    remembered = forgetful._store().find(owner)
    assert remembered is not None
    assert replace(remembered, last_used_at=None) == replace(site.pods.status(owner), last_used_at=None)
    assert forgetful.sync().added == ()

    site.pods.delete(owner)
    assert site.kubectl("delete", f"namespace/{names.namespace}").exit_code == 0
    assert owner in forgetful.sync().changed
    found = forgetful._store().find(owner)
    assert found is not None
    assert (found.status, found.volume) == (State.DELETED, pod.volume)

    site.pods.delete(owner, purge=True)
    assert owner in forgetful.sync().removed
    assert forgetful._store().find(owner) is None


@pytest.mark.hostpath
def test_a_volume_without_its_folder_is_a_problem(site: Site, owner: Owner, forgetful: PodManager) -> None:
    site.pods.ensure(owner, site.request)
    site.pods.delete(owner)
    assert site.sh('rmdir "$1"', site.folder(owner)).exit_code == 0
    assert any(site.folder(owner) in problem for problem in forgetful.sync().problems)
    with pytest.raises(VolumeError) as refused:
        site.pods.ensure(owner)
    assert (refused.value.code, "mkdir" in refused.value.hint) == ("volume_missing", True)
    assert site.pods.status(owner).status is State.DELETED
    assert site.sh('mkdir -p "$1"', site.folder(owner)).exit_code == 0
    assert site.pods.ensure(owner).status is State.RUNNING


@pytest.mark.hostpath
def test_a_purge_finds_files_that_neither_store_nor_cluster_knows(
    site: Site, owner: Owner, forgetful: PodManager
) -> None:
    names = owner.names
    site.pods.ensure(owner, site.request)
    write_file(site, owner)
    site.pods.delete(owner)
    gone = [f"namespace/{names.namespace}", f"persistentvolume/{names.volume}"]
    assert site.kubectl("delete", *gone).exit_code == 0
    with pytest.raises(PodNotFoundError):
        forgetful.delete(owner)
    forgetful.delete(owner, purge=True)
    assert site.leftovers(owner) == []
    with pytest.raises(PodNotFoundError):
        forgetful.delete(owner, purge=True)


@pytest.mark.hostpath
def test_gc_removes_orphans_and_never_a_file_without_an_age(site: Site, owner: Owner, forgetful: PodManager) -> None:
    names = owner.names

    def found(**options: Any) -> list[tuple[str, bool, bool, str]]:
        return [
            (orphan.kind.value, orphan.removable, orphan.removed, orphan.error)
            for orphan in forgetful.gc(**options)
            if names.namespace in orphan.name
        ]

    site.pods.ensure(owner, site.request)
    write_file(site, owner)
    assert found(apply=True, purge_older_than=0.0) == []
    site.pods.delete(owner)
    assert found(apply=True) == []
    assert found(purge_older_than=3600.0) == []

    long_ago = f"{DELETED_AT}=2020-01-01T00:00:00Z"
    assert site.kubectl("annotate", f"namespace/{names.namespace}", "--overwrite", long_ago).exit_code == 0
    assert site.sh('find "$1" -exec touch -d 2020-01-01 {} +', site.folder(owner)).exit_code == 0
    assert found(purge_older_than=3600.0) == []  # that was a change too, a moment ago
    assert found(purge_older_than=0.0) == [("volume", True, False, "")]
    assert site.leftovers(owner) != []
    assert found(apply=True, purge_older_than=0.0) == [("volume", True, True, "")]
    assert site.leftovers(owner) == []
    assert [(event.action, event.outcome) for event in forgetful.history(owner)] == [(Action.GC, Outcome.DONE)]


@pytest.mark.hostpath
def test_gc_checks_again_before_it_removes(site: Site, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    site.pods.ensure(owner, site.request)
    site.pods.delete(owner)
    take_inventory = GarbageCollector.take_inventory

    def and_then_it_is_used(*arguments: Any) -> Any:
        around = take_inventory(*arguments)
        site.pods.ensure(owner)
        write_file(site, owner)
        site.pods.delete(owner)
        return replace(around, now=around.now + 7200)

    monkeypatch.setattr(GarbageCollector, "take_inventory", and_then_it_is_used)
    found = [orphan for orphan in site.pods.gc(apply=True, purge_older_than=3600.0) if orphan.owner == owner]
    assert [(orphan.removable, orphan.removed, "in use again" in orphan.error) for orphan in found] == [
        (True, False, True)
    ]
    assert site.pods.ensure(owner).status is State.RUNNING
    assert file_is_there(site, owner)


@pytest.mark.hostpath
def test_an_undone_purge_that_still_runs_on_the_host_removes_nothing(site: Site, owner: Owner) -> None:
    root, name = posixpath.split(site.folder(owner))
    site.pods.ensure(owner, site.request)
    write_file(site, owner)
    folders._script(site.host, ("begin_purge.sh",), (root, name), site.settings.sudo, "removed", 60.0)
    assert folders.undo_purge(site.host, root, name, sudo=site.settings.sudo) is Presence.THERE
    site.pods.delete(owner)
    with pytest.raises(VolumeError):
        folders._script(site.host, ("purge.sh",), (root, name), site.settings.sudo, "removed", 60.0)
    site.pods.ensure(owner)
    assert file_is_there(site, owner)


@pytest.mark.hostpath
def test_a_volume_or_claim_that_was_recreated_or_deleted_is_bound_again(site: Site, owner: Owner) -> None:
    names = owner.names
    site.pods.ensure(owner, site.request)
    write_file(site, owner)
    assert site.kubectl("delete", f"persistentvolume/{names.volume}", "--wait=false").exit_code == 0
    assert site.pods.ensure(owner).status is State.RUNNING  # it waits for its claim, and the claim for the pod
    site.pods.delete(owner)
    assert site.pods.ensure(owner, timeout=60).status is State.RUNNING
    assert file_is_there(site, owner)

    site.pods.delete(owner)
    claim = json.loads(
        site.kubectl("get", f"persistentvolumeclaim/{names.claim}", "-n", names.namespace, "-o", "json").stdout
    )
    assert site.kubectl("delete", f"persistentvolumeclaim/{names.claim}", "-n", names.namespace).exit_code == 0
    del claim["spec"]["volumeName"], claim["status"]
    claim["metadata"] = {key: claim["metadata"][key] for key in ("name", "namespace", "labels")}
    assert site.kubectl("create", "-f", "-", stdin=json.dumps(claim).encode()).exit_code == 0
    assert site.pods.ensure(owner, timeout=60).status is State.RUNNING
    assert file_is_there(site, owner)


@pytest.mark.hostpath
def test_a_purge_removes_nothing_outside_its_folder(site: Site, owner: Owner) -> None:
    names = owner.names
    site.pods.ensure(owner, site.request)
    write_file(site, owner)
    site.pods.delete(owner)
    root = posixpath.dirname(site.folder(owner))
    with PodManager(replace(site.settings, volume_root=f"{root}/elsewhere"), host=SharedHost(site.host)) as pods:
        with pytest.raises(KubernetesError) as refused:
            pods.delete(owner, purge=True)
        assert refused.value.code == "outside_volume_root"
    other = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{names.namespace}-other"},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "manual",
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": f"{site.folder(owner)}/below"},
        },
    }
    assert site.kubectl("create", "-f", "-", stdin=json.dumps(other).encode()).exit_code == 0
    with pytest.raises(KubernetesError) as refused:
        site.pods.delete(owner, purge=True)
    assert refused.value.code == "not_the_owner"
    assert site.sh('cat "$1/file"', site.folder(owner)).stdout == b"precious\n"
    assert site.kubectl("delete", f"persistentvolume/{names.namespace}-other").exit_code == 0
    site.pods.delete(owner, purge=True)
    assert site.leftovers(owner) == []


def test_every_change_is_recorded(site: Site, owner: Owner) -> None:
    site.pods.ensure(owner, site.request)
    site.pods.ensure(owner)
    site.pods.ensure(owner, replace(site.request, memory="80Mi"), update=True)
    site.pods.delete(owner)
    site.pods.delete(owner, purge=True)
    with pytest.raises(PodNotFoundError):
        site.pods.delete(owner)
    events = site.pods.history(owner)
    assert [event.action for event in events] == [Action.PURGE, Action.DELETE, Action.UPDATE, Action.CREATE]
    assert {event.outcome for event in events} == {Outcome.DONE}
    assert all(event.who and event.origin and event.duration is not None for event in events)
    assert events[-1].detail == site.request.image


def test_replacing_the_pod_during_a_command_is_a_distinct_error(site: Site, owner: Owner) -> None:
    names = owner.names
    pod = site.pods.ensure(owner, site.request)
    began = threading.Event()

    def run() -> None:
        with pytest.raises(OutcomeUnknownError) as unknown:
            site.pods.exec(owner, Command("echo begun; sleep 60"), on_stdout=lambda data: began.set())
        assert unknown.value.code == "pod_replaced"
        assert str(pod.pod_name) in unknown.value.message

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(run)
        assert began.wait(20)
        killed = site.kubectl("delete", f"pod/{pod.pod_name}", "-n", names.namespace, "--wait=false")
        assert killed.exit_code == 0
        running.result(40)
    assert site.pods.ensure(owner).pod_name != pod.pod_name
