"""A cluster of two nodes, each with a disk of its own: a pod is where its data is, and says so when it cannot be."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from lfgpods import Command, KubernetesError, Owner, PodManager, PodNotRunningError, Request
from lfgpods.kube.nodes import Node, node_affinity
from tests.cluster import Cluster, second
from tests.cluster.certificates import NODE
from tests.lab import Lab
from tests.waiting import eventually

pytestmark = [pytest.mark.real, pytest.mark.exclusive]

SMALL = Request(memory="32Mi", memory_requests="8Mi", cpu="200m", cpu_requests="5m")
MANY = 30
LIMIT = 40.0
"""Seconds in which what cannot be done is told."""


def write(manager: PodManager, owner: Owner) -> None:
    assert manager.exec(owner, Command(f"echo of {owner.id} >kept && sync"))


def has_its_file(manager: PodManager, owner: Owner) -> bool:
    return manager.exec(owner, Command("cat kept")).stdout.decode() == f"of {owner.id}\n"


def volume_of(lab: Lab, owner: Owner) -> Any:
    return json.loads(lab.kubectl("get", f"persistentvolume/{owner.names.volume}", "-o", "json"))


def nodes_of(lab: Lab, *owners: Owner) -> set[str]:
    """The nodes that pods of OWNERS are on."""
    namespaces = {owner.names.namespace for owner in owners}
    pods = json.loads(lab.kubectl("get", "pods", "-A", "-o", "json"))["items"]
    return {str(pod["spec"].get("nodeName")) for pod in pods if pod["metadata"]["namespace"] in namespaces}


def second_folder(lab: Lab, owner: Owner) -> Path:
    """OWNER's volume folder on the second node's disk."""
    return second.DATA / Path(owner.names.folder(lab.settings().volume_root)).relative_to("/mnt/data")


@pytest.fixture(scope="module")
def veteran(lab: Lab, new_owner: Callable[[str], Owner]) -> Owner:
    """An owner of the time when there was one node."""
    owner = new_owner("veteran")
    with lab.manager() as manager:
        manager.ensure(owner, SMALL)
        write(manager, owner)
        manager.delete(owner)
    assert "nodeAffinity" not in volume_of(lab, owner)["spec"]
    return owner


@pytest.fixture(scope="module")
def cluster_of_two(lab: Lab, veteran: Owner) -> Iterator[Cluster]:
    if lab.cluster is None:
        pytest.skip("the nodes of a host of one's own are not for tests to add and stop")
    lab.cluster.up(nodes=2)
    try:
        yield lab.cluster
    finally:
        lab.cluster.up(nodes=1)


@pytest.fixture(scope="module")
def from_second(cluster_of_two: Cluster, lab: Lab) -> Iterator[PodManager]:
    """lfgpods with the second node as its host."""
    with lab.manager(**second.settings(), LFGPODS_DATABASE=str(lab.folder / "second.db")) as manager:
        yield manager


@pytest.fixture
def settler(
    from_second: PodManager, new_owner: Callable[[str], Owner], request: pytest.FixtureRequest
) -> Iterator[Owner]:
    """An owner whose pod and data are on the second node."""
    owner = new_owner(f"settler-{zlib.crc32(request.node.name.encode())}")
    from_second.ensure(owner, SMALL)
    write(from_second, owner)
    yield owner
    from_second.delete(owner, purge=True)


def test_thirty_pods_all_run_where_their_data_is(
    cluster_of_two: Cluster, lab: Lab, new_owner: Callable[[str], Owner]
) -> None:
    owners = [new_owner(f"many-{number}") for number in range(MANY)]
    with lab.manager() as manager:

        def make(owner: Owner) -> None:
            manager.ensure(owner, SMALL)
            write(manager, owner)

        def come_back(owner: Owner) -> bool:
            manager.delete(owner)
            manager.ensure(owner)
            return has_its_file(manager, owner)

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(make, owners))
            assert nodes_of(lab, *owners) == {NODE}
            assert all(pool.map(come_back, owners[:6]))
            assert all(pool.map(lambda owner: has_its_file(manager, owner), owners[6:]))
        assert nodes_of(lab, *owners) == {NODE}
        assert not any(second_folder(lab, owner).exists() for owner in owners)
        for owner in owners:  # many at once; what each of them takes is shown elsewhere
            lab.kubectl("delete", f"deployment/{owner.names.deployment}", "-n", owner.names.namespace, "--wait=false")


def test_a_volume_from_a_one_node_cluster_is_pinned_to_that_node(
    cluster_of_two: Cluster, lab: Lab, veteran: Owner
) -> None:
    with lab.manager() as manager:
        pod = manager.ensure(veteran)
        assert (has_its_file(manager, veteran), pod.volume_nodes) == (True, frozenset({NODE}))
        assert volume_of(lab, veteran)["spec"]["nodeAffinity"] == node_affinity(Node(NODE, NODE))
        assert nodes_of(lab, veteran) == {NODE}


def test_naming_an_unknown_node_changes_nothing(
    cluster_of_two: Cluster, lab: Lab, new_owner: Callable[[str], Owner]
) -> None:
    owner = new_owner("nowhere")
    with lab.manager(LFGPODS_NODE="nosuch") as manager, pytest.raises(KubernetesError) as refused:
        manager.ensure(owner)
    assert (refused.value.code, second.NAME in refused.value.hint) == ("no_such_node", True)
    assert lab.kubectl("get", "namespace", owner.names.namespace, "--ignore-not-found") == ""
    assert lab.on_host("test", "-e", owner.names.folder(lab.settings().volume_root)).exit_code == 1


def test_a_volume_on_another_node_is_used_there_and_purged_only_there(lab: Lab, settler: Owner) -> None:
    assert (second_folder(lab, settler) / "kept").exists()
    with lab.manager() as manager:
        manager.delete(settler)
        pod = manager.ensure(settler)
        assert (pod.volume_nodes, has_its_file(manager, settler)) == (frozenset({second.NAME}), True)
        assert nodes_of(lab, settler) == {second.NAME}
        assert not [problem for problem in manager.sync().problems if settler.id in problem]
        with pytest.raises(KubernetesError) as refused:
            manager.delete(settler, purge=True)
        assert (refused.value.code, second.NAME in refused.value.message) == ("other_node", True)
        assert has_its_file(manager, settler)


def told(work: Callable[[], object], *codes: str) -> KubernetesError:
    """The error with one of CODES that WORK ends with in time."""
    start = time.monotonic()
    with pytest.raises(KubernetesError) as error:
        work()
    assert (error.value.code in codes, bool(error.value.hint)) == (True, True), error.value
    assert time.monotonic() - start < LIMIT
    return error.value


@contextmanager
def without_kubelet(cluster: Cluster) -> Iterator[None]:
    cluster.pause("kubelet-2")
    try:
        yield
    finally:
        cluster.resume("kubelet-2")
        eventually(second.is_ready, within=90)


def test_a_node_that_does_not_answer(cluster_of_two: Cluster, lab: Lab, settler: Owner) -> None:
    with lab.manager() as manager:
        pod = manager.ensure(settler)
        with without_kubelet(cluster_of_two):
            told(lambda: manager.exec(settler, Command("true")), "node_unreachable", "outcome_unknown")
            unknown = eventually(lambda: _unless_running(manager, settler), within=90)
            assert unknown.status == "unknown"
            assert f"the node {second.NAME} does not answer since" in unknown.reason
            assert [one.status for one in manager.list() if one.owner == settler] == ["unknown"]
            with pytest.raises(PodNotRunningError, match="does not answer since"):
                manager.exec(settler, Command("true"))
            told(lambda: manager.ensure(settler), "node_unreachable")

            # As its eviction does after five minutes; the pod is Terminating for as long as nobody confirms its end.
            lab.kubectl("delete", f"pod/{pod.pod_name}", "-n", pod.namespace, "--wait=false")
            waiting = eventually(lambda: _pending(manager, settler), within=30)
            assert "does not answer since" in waiting.reason
            told(lambda: manager.ensure(settler), "node_unreachable")
            assert nodes_of(lab, settler) <= {second.NAME, "None"}
        assert manager.ensure(settler).status == "running"
        assert has_its_file(manager, settler)
        assert nodes_of(lab, settler) == {second.NAME}


def test_a_node_that_is_drained(cluster_of_two: Cluster, lab: Lab, settler: Owner) -> None:
    with lab.manager() as manager:
        lab.kubectl("cordon", second.NAME)
        try:
            assert manager.ensure(settler).status == "running"
            lab.kubectl(
                "drain", second.NAME, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=60s"
            )
            failed = eventually(lambda: _pending(manager, settler), within=30)
            assert (failed.status, f"kubectl uncordon {second.NAME}" in failed.reason) == ("failed", True)
            error = told(lambda: manager.ensure(settler), "node_cordoned")
            assert f"kubectl uncordon {second.NAME}" in error.hint
            with pytest.raises(PodNotRunningError, match="cordoned"):
                manager.exec(settler, Command("true"))
            manager.delete(settler)
            told(lambda: manager.ensure(settler), "node_cordoned")
        finally:
            lab.kubectl("uncordon", second.NAME)
        assert manager.ensure(settler).status == "running"
        assert has_its_file(manager, settler)
        assert nodes_of(lab, settler) == {second.NAME}


def _unless_running(manager: PodManager, owner: Owner) -> Any:
    pod = manager.status(owner)
    return None if pod.status == "running" else pod


def _pending(manager: PodManager, owner: Owner) -> Any:
    pod = manager.status(owner)
    return pod if pod.status == "failed" else None
