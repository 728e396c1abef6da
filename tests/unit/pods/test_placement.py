"""What Placement knows about nodes, and when it queries them. The answers have kubectl's format."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lfgpods.core.errors import KubernetesError
from lfgpods.core.operation import Operation
from lfgpods.core.settings import load_settings
from lfgpods.hosts.local import LocalHost
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.nodes import Node, node_affinity
from lfgpods.kube.objects import PersistentVolume
from lfgpods.pods.placement import Placement
from tests.kube_objects import read_as

ONE = "one\tone\t10.244.0.0/24\t\tTrue\t2026-01-01T00:00:00Z\t198.51.100.1\n"
TWO = "two\ttwo\t10.244.1.0/24\t\tTrue\t2026-01-01T00:00:00Z\t198.51.100.2\n"
CORDONED = ONE.replace("\t\tTrue", "\ttrue\tTrue")
SILENT = ONE.replace("True", "Unknown")
CLASSES = "storageclass.storage.k8s.io/fast\nstorageclass.storage.k8s.io/slow\n"
HOST = LocalHost()


class Answers(Kubectl):
    """Gives its answers one after another and repeats the last. None is a refusal."""

    def __init__(self, *answers: str | None) -> None:
        super().__init__(HOST)
        self.answers = list(answers)
        self.asked: list[str] = []

    def list_text(self, kind: str, form: str) -> str:
        self.asked.append(kind)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            raise KubernetesError(f'{kind} is forbidden: cannot list resource "{kind}"', code="forbidden")
        return answer


def placement(kubectl: Kubectl, **settings: str) -> Placement:
    return Placement(kubectl, HOST, load_settings({"LFGPODS_HOST": "local", **settings}, Path("/nowhere/.env")))


def pinned_to(name: str) -> PersistentVolume:
    spec = {"nodeAffinity": node_affinity(Node(name, name))}
    return read_as(PersistentVolume, {"metadata": {"name": "v"}, "spec": spec})


def test_a_single_node_needs_no_detection() -> None:
    alone = placement(Answers(ONE))
    assert (alone.folder_node(), alone.is_here(None), alone.networks) == (None, True, ("10.244.0.0/24",))
    assert (alone.is_here(pinned_to("one")), alone.is_here(pinned_to("two"))) == (True, False)
    with pytest.raises(KubernetesError, match="no such node"):
        placement(Answers(ONE), LFGPODS_NODE="two").folder_node()


def test_of_several_nodes_the_named_one_has_the_folders_and_none_is_guessed() -> None:
    named = placement(Answers(ONE + TWO), LFGPODS_NODE="two")
    node = named.folder_node()
    assert node is not None
    assert (node.name, named.is_here(pinned_to("two")), named.is_here(pinned_to("one"))) == ("two", True, False)
    unknown = placement(Answers(ONE + TWO))
    with pytest.raises(KubernetesError) as refused:
        unknown.folder_node()
    assert (refused.value.code, unknown.node_here()) == ("unknown_node", None)


def test_prefetched_answers_are_not_queried_again() -> None:
    kubectl = Answers(ONE + TWO)
    prefetching = placement(kubectl)
    prefetching.prefetch(None)
    prefetching.prefetch(None)
    assert (len(prefetching.nodes()), kubectl.asked) == (2, ["nodes"])


def test_a_prefetch_with_a_storage_class_queries_only_what_it_needs() -> None:
    kubectl = Answers(ONE, CLASSES)
    prefetching = placement(kubectl)
    prefetching.prefetch("fast")
    prefetching.check_class("fast")
    assert kubectl.asked == ["nodes", "storageclasses"]
    with_networks = Answers(CLASSES)
    prefetching = placement(with_networks, LFGPODS_POD_CIDRS="10.244.0.0/16")
    prefetching.prefetch("fast")
    assert (with_networks.asked, prefetching.networks) == (["storageclasses"], ("10.244.0.0/16",))


def test_an_account_that_may_not_list_nodes_asks_only_once() -> None:
    kubectl = Answers(None)
    without_rights = placement(kubectl)
    without_rights.prefetch(None)
    assert (
        without_rights.nodes(),
        without_rights.folder_node(),
        without_rights.is_here(pinned_to("one")),
        without_rights.networks,
    ) == ((), None, True, ())
    without_rights.check_reach(None, Operation(0.0, print), in_folder=True)
    without_rights.prefetch(None)
    assert kubectl.asked == ["nodes"]
    with pytest.raises(KubernetesError, match="may not list"):
        placement(Answers(None), LFGPODS_NODE="one").folder_node()


def test_a_failed_query_for_nodes_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl = Answers(ONE)
    cut_off = placement(kubectl)

    def unreachable(kind: str, form: str) -> str:
        raise KubernetesError("nodes are on fire", code="cluster_unreachable")

    with monkeypatch.context() as patch:
        patch.setattr(kubectl, "list_text", unreachable)
        cut_off.prefetch(None)
        with pytest.raises(KubernetesError, match="on fire"):
            cut_off.nodes()
    assert len(cut_off.nodes()) == 1


def test_parallel_threads_list_the_nodes_once() -> None:
    kubectl = Answers(ONE)
    shared = placement(kubectl)
    together = threading.Barrier(8)

    def look(_: int) -> int:
        together.wait()
        shared.prefetch(None)
        return len(shared.nodes())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(look, range(8))) == [1] * 8
    assert kubectl.asked == ["nodes"]


@pytest.mark.parametrize(("trouble", "code"), [(CORDONED, "node_cordoned"), (SILENT, "node_unreachable")])
def test_a_problem_of_a_node_is_rechecked_before_it_is_reported(trouble: str, code: str) -> None:
    steps: list[str] = []
    over = placement(Answers(trouble, ONE))
    over.nodes()
    over.check_reach(None, Operation(0.0, steps.append), in_folder=True)
    assert len(steps) == 1

    lasting = placement(Answers(trouble))
    lasting.nodes()
    with pytest.raises(KubernetesError) as reported:
        lasting.check_reach(pinned_to("one"), Operation(0.0, steps.append), in_folder=True)
    assert (reported.value.code, "the files are kept" in reported.value.hint) == (code, True)


def test_only_the_nodes_that_have_the_data_matter() -> None:
    healthy_elsewhere = placement(Answers(CORDONED + TWO), LFGPODS_NODE="one")
    healthy_elsewhere.nodes()
    healthy_elsewhere.check_reach(pinned_to("two"), Operation(0.0, print), in_folder=True)
    healthy_elsewhere.check_reach(None, Operation(0.0, print), in_folder=False)
    with pytest.raises(KubernetesError) as reported:
        healthy_elsewhere.check_reach(None, Operation(0.0, print), in_folder=True)
    assert reported.value.code == "node_cordoned"
    with pytest.raises(KubernetesError, match="no such node"):
        healthy_elsewhere.check_reach(pinned_to("three"), Operation(0.0, print), in_folder=True)


def test_an_unknown_storage_class_is_an_error() -> None:
    placement(Answers(CLASSES)).check_class("fast")
    placement(Answers(None)).check_class("unseen")
    for there, reported in ((CLASSES, "fast, slow"), ("", "has none")):
        with pytest.raises(KubernetesError) as missing:
            placement(Answers(there)).check_class("other")
        assert (missing.value.code, reported in missing.value.hint) == ("no_such_storage_class", True)
