"""What the manager makes of a store that fails, and of what it finds, on the embedded host."""

from __future__ import annotations

import logging

import pytest

from lfgpods import Command, Owner, State, StoreError
from lfgpods.observe import snapshot_of
from lfgpods.state import state_of
from lfgpods.store import Store
from lfgpods.testing import embedded_host

OWNER = Owner.project("my-app")


def test_a_result_is_told_even_if_it_cannot_be_remembered(
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


def test_nothing_is_begun_that_cannot_be_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreError("the disk is full")

    with embedded_host() as lfgpods:
        monkeypatch.setattr(Store, "remember", fail)
        with pytest.raises(StoreError):
            lfgpods.pods.ensure(OWNER)
        assert lfgpods.pods.list() == []


def test_a_pod_without_our_label_runs_where_its_deployment_says_so() -> None:
    deployment = {
        "kind": "Deployment",
        "metadata": {"name": "proj-a-dep"},
        "spec": {"replicas": 1, "template": {}},
        "status": {"readyReplicas": 1},
    }
    assert state_of(snapshot_of([deployment])) == (State.RUNNING, "")
