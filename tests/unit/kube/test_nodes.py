"""Which node has the volume folders, and whether a pod can start on the node with its data."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lfgpods.core.errors import KubernetesError
from lfgpods.core.pod import State
from lfgpods.hosts.local import LocalHost
from lfgpods.hosts.run import run
from lfgpods.kube.nodes import (
    JSONPATH,
    Node,
    host_names_command,
    networks_of,
    node_affinity,
    node_of_host,
    nodes_of,
    reachable,
    read_host,
    read_nodes,
    trouble_of,
)
from lfgpods.kube.objects import Deployment, PersistentVolume, Pod
from lfgpods.pods.objects import OwnerObjects
from lfgpods.pods.status import nodes_matter, state_of
from lfgpods.testing import embedded_host
from tests.kube_objects import read_as

ONE = Node("one", "one", ("10.244.0.0/24",), addresses=frozenset({"10.0.0.1", "203.0.113.7", "one.example.com"}))
TWO = Node("two.internal", "two", ("10.244.1.0/24",), addresses=frozenset({"10.0.0.2", "two"}))
NODES = (ONE, TWO)
CORDONED = replace(ONE, cordoned=True)
SILENT = replace(ONE, answers=False, since="2026-01-01T00:00:00Z")


def volume(*hostnames: str) -> PersistentVolume:
    if not hostnames:
        return volume_with({})
    affinity: Any = node_affinity(ONE)
    affinity["required"]["nodeSelectorTerms"][0]["matchExpressions"][0]["values"] = list(hostnames)
    return volume_with({"nodeAffinity": affinity})


def volume_with(spec: dict[str, Any]) -> PersistentVolume:
    return read_as(PersistentVolume, {"metadata": {"name": "v"}, "spec": spec})


def test_each_line_of_kubectl_about_a_node_becomes_a_node() -> None:
    said = (
        "one\tone\t10.244.0.0/24 fd00::/64\t\tTrue\t2026-01-01T00:00:00Z\t10.0.0.1 one\n"
        "storageclass.storage.k8s.io/fast\n"
        "two\t\t\ttrue\tUnknown\t2026-01-02T00:00:00Z\t10.0.0.2\n"
    )
    one, two = read_nodes(said)
    assert one == Node(
        "one",
        "one",
        ("10.244.0.0/24", "fd00::/64"),
        since="2026-01-01T00:00:00Z",
        addresses=frozenset({"10.0.0.1", "one"}),
    )
    assert (two.hostname, two.networks, two.cordoned, two.answers) == ("two", (), True, False)
    assert networks_of([one, two, one]) == ("10.244.0.0/24", "fd00::/64")


def test_the_embedded_host_prints_its_node_in_the_same_format() -> None:
    with embedded_host() as lfgpods:
        said = run(lfgpods.host, ("kubectl", "get", "nodes", "-o", f"jsonpath={JSONPATH}")).stdout.decode()
    (node,) = read_nodes(said)
    assert (node.name, node.answers, node.cordoned, node.networks) == ("embedded", True, False, ("10.244.0.0/24",))
    assert "127.0.0.1" in node.addresses


@pytest.mark.parametrize(
    "called", ["10.0.0.1", "203.0.113.7", "one", "ONE", "one.example.com"]
)  # fmt: skip
def test_the_host_is_found_among_the_nodes_by_each_of_its_names(called: str) -> None:
    assert node_of_host(NODES, None, {called, "172.17.0.1"}) is ONE


def test_the_node_in_the_settings_wins_and_must_exist() -> None:
    assert node_of_host(NODES, "two.internal", {"10.0.0.1"}) is TWO
    with pytest.raises(KubernetesError, match="no such node") as missing:
        node_of_host(NODES, "three", {"10.0.0.1"})
    assert "one, two.internal" in missing.value.hint


@pytest.mark.parametrize("called", [(), ("bastion", "192.0.2.1"), ("10.0.0.1", "10.0.0.2")])
def test_a_host_that_matches_no_node_or_several_is_an_error_with_a_remedy(called: tuple[str, ...]) -> None:
    with pytest.raises(KubernetesError) as unknown:
        node_of_host(NODES, None, called)
    assert unknown.value.code == "unknown_node"
    assert "LFGPODS_NODE" in unknown.value.hint


def test_addresses_that_every_host_has_do_not_identify_the_host() -> None:
    told = read_host(run(LocalHost(), host_names_command()).stdout.decode())
    assert told
    assert not {"127.0.0.1", "::1", "localhost"} & told
    assert read_host("localhost\n127.0.1.1\n10.0.0.1\n::1\n") == {"10.0.0.1"}


def test_a_volume_is_reachable_from_the_nodes_in_its_affinity() -> None:
    assert nodes_of(volume_with({"nodeAffinity": node_affinity(TWO)})) == frozenset({"two"})
    assert reachable(NODES, volume_with({"nodeAffinity": node_affinity(TWO)})) == (TWO,)
    assert nodes_of(volume()) is None
    assert nodes_of(None) is None
    by_zone = {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}
    assert nodes_of(volume_with({"nodeAffinity": {"required": {"nodeSelectorTerms": [by_zone]}}})) is None


def test_the_reason_why_no_pod_can_start_with_its_data() -> None:
    assert trouble_of(NODES, volume("one")) == ""
    assert trouble_of((CORDONED, TWO), volume()) == ""
    assert trouble_of((CORDONED, TWO), volume("two")) == ""
    assert "kubectl uncordon one" in trouble_of((CORDONED, TWO), volume("one"))
    assert "does not answer since 2026-01-01T00:00:00Z" in trouble_of((SILENT, TWO), volume("one"))
    assert "no such node" in trouble_of(NODES, volume("three"))
    assert trouble_of((), volume("three")) == ""


def pod(phase: str, *, ready: bool, going: bool = False, node: str | None = "one") -> Pod:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    if node is None:
        refused = {"reason": "Unschedulable", "message": "0/2 nodes are available"}
        conditions.append({"type": "PodScheduled", "status": "False", **refused})
    statuses: list[Any] = [{"state": {"running": {}}}] if phase == "Running" else []
    document = {
        "metadata": {"name": "p", **({"deletionTimestamp": "2026-01-01T00:00:00Z"} if going else {})},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "conditions": conditions, "containerStatuses": statuses},
    }
    return read_as(Pod, document)


def seen(one_pod: Pod, *nodes: Node) -> tuple[bool, State, str]:
    deployment = read_as(Deployment, {"metadata": {"name": "d"}, "spec": {"replicas": 1, "template": {}}})
    objects = OwnerObjects(deployment=deployment, volume=volume("one"), pods=(one_pod,), nodes=nodes)
    return nodes_matter(objects), *state_of(objects)


def test_a_pod_on_a_node_that_does_not_answer_is_unknown_even_if_it_claims_to_be_ready() -> None:
    assert seen(pod("Running", ready=True), SILENT, TWO)[1:] == (State.UNKNOWN, SILENT.trouble)
    assert seen(pod("Running", ready=False), SILENT, TWO) == (True, State.UNKNOWN, SILENT.trouble)
    assert seen(pod("Running", ready=False, going=True), SILENT, TWO) == (True, State.UNKNOWN, SILENT.trouble)
    assert seen(pod("Running", ready=False), TWO)[1] is State.UNKNOWN


def test_nodes_matter_only_if_they_may_be_why_a_pod_does_not_run() -> None:
    assert seen(pod("Running", ready=True)) == (False, State.RUNNING, "")
    assert not seen(pod("Pending", ready=False))[0]


def test_an_unschedulable_pod_names_the_node_with_its_data_and_the_remedy() -> None:
    waiting = pod("Pending", ready=False, node=None)
    assert seen(waiting, CORDONED, TWO) == (True, State.FAILED, CORDONED.trouble)
    assert seen(waiting, SILENT, TWO) == (True, State.FAILED, SILENT.trouble)
    assert "0/2 nodes are available" in seen(waiting, ONE, TWO)[2]
