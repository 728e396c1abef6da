"""PodManager with a failing store, an interrupted delete and a lock left behind, on the embedded host."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from lfgpods import Command, KubernetesError, Owner, State, StoreError
from lfgpods.core import processes
from lfgpods.core.changes import Outcome
from lfgpods.core.owners import names_of
from lfgpods.hosts.base import Process
from lfgpods.hosts.round_trip import Step
from lfgpods.hosts.run import run
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.labels import DELETED_AT
from lfgpods.kube.objects import read_object
from lfgpods.pods.lock import PROCESS
from lfgpods.pods.objects import owner_objects
from lfgpods.pods.status import state_of
from lfgpods.store.store import Store
from lfgpods.testing import embedded_host

OWNER = Owner.project("my-app")
DEAD = f"{processes.this_process().rpartition(':')[0].rpartition(':')[0]}:999999999:1"


def test_a_result_is_returned_even_if_the_store_fails(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    with embedded_host() as lfgpods:
        lfgpods.pods.ensure(OWNER)
        monkeypatch.setattr(Store, "touch", fail)
        with caplog.at_level(logging.WARNING, "lfgpods"):
            assert lfgpods.pods.exec(OWNER, Command("exit 3")).exit_code == 3
        assert "the disk is full" in caplog.text
        monkeypatch.setattr(Store, "forget", fail)
        assert lfgpods.pods.delete(OWNER, purge=True).purged


def test_a_pod_whose_deletion_was_marked_but_not_done_counts_as_used() -> None:
    names = names_of(OWNER)
    with embedded_host() as lfgpods:
        lfgpods.pods.ensure(OWNER)
        moment = f"{DELETED_AT}=2026-01-01T00:00:00Z"
        assert run(lfgpods.host, ("kubectl", "annotate", f"namespace/{names.namespace}", moment)).exit_code == 0
        pod = lfgpods.pods.ensure(OWNER)
        assert pod.status is State.RUNNING
        assert DELETED_AT not in run(lfgpods.host, ("kubectl", "get", "namespaces", "-o", "json")).stdout.decode()


def test_a_create_that_takes_over_the_lock_checks_the_node_before_it_changes_anything() -> None:
    names = names_of(OWNER)
    with embedded_host({"LFGPODS_START_GRACE": "0"}) as lfgpods:
        run(
            lfgpods.host, ("kubectl", "patch", "node/embedded", "--type=merge", "-p", '{"spec":{"unschedulable":true}}')
        )
        lease = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": f"lfgpods-{names.namespace}", "annotations": {PROCESS: DEAD}},
        }
        assert run(lfgpods.host, ("kubectl", "create", "-f", "-"), stdin=json.dumps(lease).encode()).exit_code == 0
        with pytest.raises(KubernetesError, match="cordoned"):
            lfgpods.pods.ensure(OWNER)
        assert names.namespace not in run(lfgpods.host, ("kubectl", "get", "namespaces", "-o", "name")).stdout.decode()


def test_nothing_is_changed_if_the_store_cannot_record_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    with embedded_host() as lfgpods:
        monkeypatch.setattr(Store, "remember", fail)
        with pytest.raises(StoreError):
            lfgpods.pods.ensure(OWNER)
        assert lfgpods.pods.list() == []


def test_a_create_takes_the_lock_lists_nodes_and_loads_templates_in_parallel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together = threading.Barrier(3, timeout=20)
    done: list[str] = []
    with embedded_host() as lfgpods:
        start = lfgpods.host.open

        def open(argv: Sequence[str], **how: Any) -> Process:
            done.append("command")
            if done.count("command") <= 2:
                together.wait()
            return start(argv, **how)

        def prepare(_: object) -> None:
            done.append("prepared")
            together.wait()

        monkeypatch.setattr(lfgpods.host, "open", open)
        monkeypatch.setattr("lfgpods.pods.manifests.prepare", prepare)
        lfgpods.pods.ensure(OWNER)
        assert sorted(done[:3]) == ["command", "command", "prepared"]
        done.clear()
        done.extend(["command"] * 2)
        lfgpods.pods.ensure(OWNER)
        assert "prepared" not in done


def test_a_create_succeeds_even_if_its_lock_cannot_be_released(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    release_step = Kubectl.delete_selected_step

    def refused(kubectl: Kubectl, *selection: str) -> Step[bytes]:
        step = release_step(kubectl, *selection)
        return Step((*step.argv, "--no-such-option"), step.parse)

    with embedded_host() as lfgpods:
        monkeypatch.setattr(Kubectl, "delete_selected_step", refused)
        assert lfgpods.pods.ensure(OWNER).status is State.RUNNING
        assert [change.outcome for change in lfgpods.pods.history(OWNER)] == [Outcome.DONE]
    assert "stays until it expires" in caplog.text


def test_an_adopted_pod_without_our_label_runs_if_its_deployment_is_ready() -> None:
    deployment = {
        "kind": "Deployment",
        "metadata": {"name": "proj-a-dep"},
        "spec": {"replicas": 1, "template": {}},
        "status": {"readyReplicas": 1},
    }
    assert state_of(owner_objects([read_object(deployment)])) == (State.RUNNING, "")
