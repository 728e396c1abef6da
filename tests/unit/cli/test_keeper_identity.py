"""Which command lines one keeper may run."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfgpods.cli.keeper import client


def test_a_keeper_is_for_one_database_and_one_login_to_it(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = {"LFGPODS_DATABASE": "postgresql://db.example.com/pods", "PGUSER": "ada", "PGPASSWORD": "one"}
    here = client.identity(shared)
    assert client.identity({**shared, "PGPASSWORD": "two"}) != here
    assert client.identity({**shared, "LFGPODS_DATABASE": "postgresql://db.example.com/other"}) != here
    (empty_folder / "elsewhere").mkdir()
    monkeypatch.chdir(empty_folder / "elsewhere")
    assert client.identity(shared) == here
    kubectl = {"LFGPODS_KUBECTL": "kubectl --kubeconfig staging"}
    elsewhere = [client.identity(found) for found in ({"KUBECONFIG": "/a:config"}, {"PGPASSFILE": "pass"}, kubectl)]
    monkeypatch.chdir(empty_folder)
    back = [client.identity(found) for found in ({"KUBECONFIG": "/a:config"}, {"PGPASSFILE": "pass"}, kubectl)]
    assert not set(back) & set(elsewhere)
    assert client.identity({"LFGPODS_DATABASE": "a.db"}) != client.identity({"LFGPODS_DATABASE": "./a.db"})
