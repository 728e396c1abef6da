"""Which command lines one keeper may run."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfgpods.cli import handover


def test_a_keeper_is_for_one_database_and_one_login_to_it(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = {"LFGPODS_DATABASE": "postgresql://db.example.com/pods", "PGUSER": "ada", "PGPASSWORD": "one"}
    here = handover.identity(shared)
    assert handover.identity({**shared, "PGPASSWORD": "two"}) != here
    assert handover.identity({**shared, "LFGPODS_DATABASE": "postgresql://db.example.com/other"}) != here
    (empty_folder / "elsewhere").mkdir()
    monkeypatch.chdir(empty_folder / "elsewhere")
    assert handover.identity(shared) == here
    kubectl = {"LFGPODS_KUBECTL": "kubectl --kubeconfig staging"}
    elsewhere = [handover.identity(found) for found in ({"KUBECONFIG": "/a:config"}, {"PGPASSFILE": "pass"}, kubectl)]
    monkeypatch.chdir(empty_folder)
    back = [handover.identity(found) for found in ({"KUBECONFIG": "/a:config"}, {"PGPASSFILE": "pass"}, kubectl)]
    assert not set(back) & set(elsewhere)
    assert handover.identity({"LFGPODS_DATABASE": "a.db"}) != handover.identity({"LFGPODS_DATABASE": "./a.db"})
