"""The main job on each kind of database."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lfgpods.cli import main
from tests.contract.store.databases import Database

ROOT = Path(__file__).parents[3]


def test_pods_are_created_used_listed_and_rebuilt_by_sync(
    database: Database, empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setenv("LFGPODS_HOST", "embedded")
    monkeypatch.setenv("LFGPODS_DATABASE", database.place)

    def lfgpods(*words: str) -> bytes:
        assert main(words) == 0
        return capfdbinary.readouterr().out

    mine = ("--project-id", "My App")
    lfgpods("create", *mine)
    assert lfgpods("exec", *mine, "-c", "echo kept > file; cat file") == b"kept\n"
    (pod,) = json.loads(lfgpods("list", "-o", "json"))
    assert (pod["project_id"], pod["status"], bool(pod["last_used_at"])) == ("My App", "running", True)
    database.ask("DELETE FROM pods")
    assert json.loads(lfgpods("sync", "-o", "json"))["added"] == ["project/My App"]
    lfgpods("delete", *mine)
    lfgpods("create", *mine)
    lfgpods("delete", *mine, "--purge", "--yes")
    assert lfgpods("list", "-o", "name") == b""
    told = json.loads(lfgpods("history", "-o", "json"))
    assert [(event["action"], event["outcome"]) for event in reversed(told)] == [
        ("create", "done"), ("sync", "done"), ("delete", "done"), ("create", "done"), ("purge", "done"),
    ]  # fmt: skip
    assert database.connections() == 0


def test_four_processes_share_one_pod_and_each_gets_its_own_results(
    database: Database, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LFGPODS_HOST", "embedded")
    monkeypatch.setenv("LFGPODS_DATABASE", database.place)

    def crowd(*words: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-m", "tests.faults.crowd", *words], cwd=ROOT, stdout=subprocess.PIPE)

    same = [crowd("same", "crowd", "2") for _ in range(4)]
    told = [json.loads(one.communicate(timeout=60)[0]) for one in same]
    assert [one["wrong"] for one in told] == [[]] * 4
    assert len({pod for one in told for pod in one["pods"]}) == 1
    mixed = [crowd("mixed", f"crowd-{number}", "6") for number in range(4)]
    assert [json.loads(one.communicate(timeout=60)[0])["wrong"] for one in mixed] == [[]] * 4
    for owner in ("crowd", *(f"crowd-{number}" for number in range(4))):
        assert main(["delete", "--project-id", owner, "--purge", "--yes"]) == 0
    assert database.connections() == 0
