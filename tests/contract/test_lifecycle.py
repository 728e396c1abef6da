"""Create, delete and what happens in between: the promises of `ensure`, `delete`, `status` and `list`."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lfgpods import Command, Owner, Pod, PodNotFoundError, PodNotRunningError, Request, State
from lfgpods.core.errors import KubernetesError, LfgpodsError
from tests.contract.sites import Site
from tests.waiting import eventually


def listed(site: Site, owner: Owner) -> list[Pod]:
    return [pod for pod in site.pods.list() if pod.owner == owner]


def write_file(site: Site, owner: Owner) -> None:
    assert site.pods.exec(owner, Command("echo precious > file"))


def file_is_there(site: Site, owner: Owner) -> bool:
    return site.pods.exec(owner, Command("cat file")).stdout == b"precious\n"


def test_an_owner_has_one_pod_that_changes_only_on_request(site: Site, owner: Owner) -> None:
    names = owner.names
    with pytest.raises(PodNotFoundError) as missing:
        site.pods.status(owner)
    assert (missing.value.code, missing.value.exit_code) == ("no_such_pod", 3)
    with pytest.raises(PodNotFoundError):
        site.pods.exec(owner, Command("true"))

    steps: list[str] = []
    pod = site.pods.ensure(owner, replace(site.request, ports=(8080, 9090)), on_step=steps.append)
    assert pod.status is State.RUNNING
    assert pod.namespace == names.namespace
    assert pod.pod_name is not None
    assert pod.pod_name.startswith(f"{names.deployment}-")
    assert [port.port for port in pod.ports] == [8080, 9090]
    assert all(30000 <= port.node_port <= 32767 for port in pod.ports)
    assert pod.access_url == f"http://{site.host.address}:{pod.ports[0].node_port}"
    assert pod.resource_limits["memory"] == "64Mi"
    assert steps[-1] == "ready"
    assert pod.volume in site.volumes(owner)

    again = site.pods.ensure(owner)
    assert (again, again.differences) == (pod, ())
    assert site.pods.status(owner) == pod
    assert listed(site, owner) == [pod]

    different = Request(memory="80Mi", ports=(8080,))
    told = site.pods.ensure(owner, replace(different, storage_size="9Gi"))
    assert told.pod_name == pod.pod_name
    assert told.resource_limits["memory"] == "64Mi"
    assert told.differences == (
        "memory is 64Mi, not 80Mi",
        "storage size is 1Gi, not 9Gi",
        "ports are 8080 9090, not 8080",
    )

    write_file(site, owner)
    changed = site.pods.ensure(owner, different, update=True)
    assert changed.status is State.RUNNING
    assert changed.differences == ()
    assert changed.pod_name != pod.pod_name
    assert changed.resource_limits["memory"] == "80Mi"
    assert [port.node_port for port in changed.ports] == [pod.ports[0].node_port]
    assert file_is_there(site, owner)
    unchanged = site.pods.ensure(owner, Request(storage_size="9Gi"), update=True)
    assert unchanged.differences == ("storage size is 1Gi and cannot be changed to 9Gi",)
    assert unchanged.pod_name == changed.pod_name


def test_a_deleted_pod_comes_back_with_its_files(site: Site, owner: Owner) -> None:
    first = site.pods.ensure(owner, site.request)
    write_file(site, owner)
    for _ in range(2):
        site.pods.delete(owner)
        assert site.pods.status(owner).status is State.DELETED
    assert [pod.status for pod in listed(site, owner)] == [State.DELETED]
    with pytest.raises(PodNotRunningError, match="deleted") as refused:
        site.pods.exec(owner, Command("true"))
    assert refused.value.code == "pod_not_running"
    again = site.pods.ensure(owner)
    assert (again.status, again.image) == (State.RUNNING, first.image)
    assert file_is_there(site, owner)


def test_a_stopped_or_killed_pod_comes_back(site: Site, owner: Owner) -> None:
    names = owner.names
    first = site.pods.ensure(owner, site.request)
    write_file(site, owner)
    scaled = site.kubectl("scale", f"deployment/{names.deployment}", "-n", names.namespace, "--replicas=0")
    assert scaled.exit_code == 0, scaled
    assert site.pods.status(owner).status is State.STOPPED
    with pytest.raises(PodNotRunningError, match="stopped"):
        site.pods.exec(owner, Command("true"))
    second = site.pods.ensure(owner)
    assert second.status is State.RUNNING
    assert second.pod_name != first.pod_name
    assert file_is_there(site, owner)

    killed = site.kubectl("delete", f"pod/{second.pod_name}", "-n", names.namespace, "--force", "--grace-period=0")
    assert killed.exit_code == 0, killed
    third = site.pods.ensure(owner)
    assert third.status is State.RUNNING
    assert third.pod_name != second.pod_name
    assert file_is_there(site, owner)

    told = site.kubectl("delete", f"pod/{third.pod_name}", "-n", names.namespace, "--wait=false")
    assert told.exit_code == 0, told
    fourth = site.pods.ensure(owner)
    assert fourth.status is State.RUNNING
    assert fourth.pod_name != third.pod_name
    assert file_is_there(site, owner)


def test_a_lost_namespace_is_created_again_with_the_kept_volume(site: Site, owner: Owner) -> None:
    names = owner.names
    site.pods.ensure(owner, site.request)
    write_file(site, owner)
    assert site.pods.exec(owner, Command("(trap '' TERM; exec sleep 5) </dev/null >/dev/null 2>&1 &"))  # ends slowly
    assert site.kubectl("delete", f"namespace/{names.namespace}", "--wait=false").exit_code == 0
    assert site.pods.status(owner).status is State.DELETED
    steps: list[str] = []
    pod = site.pods.ensure(owner, site.request, on_step=steps.append)
    assert pod.status is State.RUNNING
    if site.isolated:  # a plain embedded pod is gone before anybody can see it go
        assert "waiting for an earlier deletion to end" in steps
        assert (
            "waiting for the namespace to terminate" in steps
        )  # once the pod has, rather than whenever Kubernetes looks
    assert "binding the kept volume to a new claim" in steps
    assert file_is_there(site, owner)


def test_a_purge_removes_everything_of_the_owner_and_nothing_else(site: Site, owner: Owner, resident: Owner) -> None:
    neighbour = site.pods.status(resident)
    pod = site.pods.ensure(owner, site.request)
    write_file(site, owner)
    deletion = site.pods.delete(owner, purge=True)
    assert (deletion.purged, deletion.volume) == (True, pod.volume)
    assert site.leftovers(owner) == []
    assert listed(site, owner) == []
    with pytest.raises(PodNotFoundError):
        site.pods.delete(owner, purge=True)
    assert site.pods.status(resident) == neighbour
    assert site.pods.exec(resident, Command("true"))


def test_two_callers_at_once_get_the_same_pod(site: Site, owner: Owner) -> None:
    with ThreadPoolExecutor(2) as callers:
        pods = list(callers.map(lambda _: site.pods.ensure(owner, site.request), range(2)))
    assert pods[0].pod_name == pods[1].pod_name
    assert [pod.status for pod in pods] == [State.RUNNING, State.RUNNING]


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("image_pull", "image_pull", "cannot be pulled"),
        ("unschedulable", "unschedulable", "no node can take the pod (0/1 nodes are available: "),
        ("crash_loop", "container_crash", "exit code"),
    ],
)
def test_a_pod_that_cannot_start_is_an_error_with_its_cause_and_can_be_repaired(
    site: Site, owner: Owner, fault: str, code: str, words: str
) -> None:
    with site.failing(fault) as request:
        with pytest.raises(KubernetesError) as failed:
            site.pods.ensure(owner, request)
        assert failed.value.code == code
        assert failed.value.exit_code == 5
        assert words in failed.value.message
        # A container that crashes runs for a moment each time.
        assert eventually(lambda: site.pods.status(owner).status is State.FAILED)
        with pytest.raises(LfgpodsError):
            site.pods.exec(owner, Command("true"))
    assert site.pods.ensure(owner, site.request).status is State.RUNNING


def test_an_invalid_image_is_refused_before_anything_is_created(site: Site, owner: Owner) -> None:
    with pytest.raises(ValueError, match="not a valid reference"):
        site.pods.ensure(owner, Request(image="Not An Image"))
    assert site.leftovers(owner) == []


def test_without_waiting_a_create_returns_the_pod_as_creating(site: Site, owner: Owner) -> None:
    pod = site.pods.ensure(owner, site.request, wait=False)
    assert pod.status is State.CREATING
    assert site.pods.ensure(owner).status is State.RUNNING


def test_a_foreign_namespace_is_left_alone(site: Site, owner: Owner) -> None:
    namespace = owner.names.namespace
    made = site.kubectl(
        "apply", "--server-side", "-f", "-",
        stdin=json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}).encode(),
    )  # fmt: skip
    assert made.exit_code == 0, made.stderr
    for use in (site.pods.ensure, site.pods.delete, lambda who: site.pods.delete(who, purge=True)):
        with pytest.raises(KubernetesError) as refused:
            use(owner)
        assert refused.value.code == "not_the_owner"
    assert site.kubectl("get", f"namespace/{namespace}").exit_code == 0
    assert site.kubectl("delete", f"namespace/{namespace}").exit_code == 0
