from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lfgpods import store as stores
from lfgpods.errors import StoreError
from lfgpods.naming import Owner
from lfgpods.pod import Pod, ServicePort
from lfgpods.spec import PodSpec, Resources
from lfgpods.state import State
from lfgpods.store import Store

SPEC = PodSpec("busybox:1.36", Resources("1Gi", "1", "128Mi", "50m"), "1Gi", (8080,))
POD = Pod(
    Owner.project("My App"), "proj-my-app--x", State.RUNNING, SPEC, "/v/proj-my-app--x", pod_name="p-1", conversation_id="c",
    service_name="s", cluster_ip="10.0.0.1", ports=(ServicePort(8080, 30001, "http://h:30001"),),
    created_at="2026-01-01T00:00:00Z", started_at="2026-01-01T00:00:01Z",
)  # fmt: skip


@pytest.fixture
def database(tmp_path: Path) -> str:
    return str(tmp_path / "new" / "lfgpods.db")


def test_a_pod_comes_back_as_it_was(database: str) -> None:
    Store(database, "host").remember(POD)
    store = Store(database, "host")
    assert store.find(POD.owner) == POD
    assert store.all() == [POD]
    assert store.find(Owner.conversation("My App")) is None
    assert Store(database, "other host").all() == []


def test_the_time_of_last_use_survives_what_is_learned_later(database: str) -> None:
    store = Store(database, "host")
    store.remember(POD)
    store.touch(POD.owner)
    store.remember(replace(POD, status=State.STOPPED))
    found = store.find(POD.owner)
    assert found is not None
    assert (found.status, bool(found.last_used_at)) == (State.STOPPED, True)


def test_forgetting_is_for_one_owner(database: str) -> None:
    store = Store(database, "host")
    other = replace(POD, owner=Owner.project("b"), namespace="proj-b")
    store.remember(POD, other)
    store.forget([POD.owner])
    assert store.all() == [other]


def test_nobody_else_can_read_the_file(database: str) -> None:
    Store(database, "host").remember(POD)
    for path in Path(database).parent.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert Path(database).parent.stat().st_mode & 0o777 == 0o700


def test_migrations_run_once_each_and_a_newer_schema_is_left_alone(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Store(database, "host").remember(POD)
    ran = []
    monkeypatch.setattr(stores, "MIGRATIONS", (*stores.MIGRATIONS, lambda database: ran.append(database)))
    assert Store(database, "host").all() == [POD]
    Store(database, "host")
    assert len(ran) == 1
    monkeypatch.undo()
    with pytest.raises(StoreError, match="newer lfgpods"):
        Store(database, "host")


def test_a_migration_that_fails_leaves_nothing_behind(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(database: object) -> None:
        stores._sql(database, "CREATE TABLE half (a TEXT)")  # type: ignore[arg-type]
        raise OSError("interrupted")

    with monkeypatch.context() as patched:
        patched.setattr(stores, "MIGRATIONS", (*stores.MIGRATIONS, fail))
        with pytest.raises(StoreError, match="interrupted"):
            Store(database, "host")
    with sqlite3.connect(database) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name IN ('half', 'pods')").fetchall() == []
    connection.close()
    assert Store(database, "host").all() == []


WORKER = """
import sys
from dataclasses import replace
from lfgpods.naming import Owner
from lfgpods.store import Store
from tests.unit.test_store import POD

store, me = Store(sys.argv[1], "host"), sys.argv[2]
for i in range(25):
    store.remember(replace(POD, owner=Owner.project(f"{me}-{i}"), namespace=f"{me}-{i}"))
    store.remember(POD)
    store.touch(POD.owner)
"""


def test_eight_processes_open_a_new_database_and_lose_nothing(database: str) -> None:
    root = Path(__file__).parents[2]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, database, str(n)], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
        )
        for n in range(8)
    ]
    assert [worker.wait(60) for worker in workers] == [0] * 8
    assert len(Store(database, "host").all()) == 8 * 25 + 1


@pytest.mark.parametrize("path", ["/proc/no/such/folder/db", "/"])
def test_a_database_that_cannot_be_is_one_clear_error(path: str) -> None:
    with pytest.raises(StoreError) as refused:
        Store(path, "host")
    assert "LFGPODS_DATABASE" in refused.value.hint


def test_a_file_that_is_no_database_is_one_clear_error(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_text("this is not a database, and long enough to be seen as none" * 100)
    with pytest.raises(StoreError):
        Store(str(garbage), "host")
    assert garbage.read_text().startswith("this is not")
