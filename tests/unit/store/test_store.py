"""What of the store is SQLite's own; the rest is in the contract, which every kind of database keeps."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from lfgpods.core.changes import Action, Outcome
from lfgpods.core.errors import StoreError
from lfgpods.store import Store
from tests.samples import POD


def test_nobody_else_can_read_the_file(tmp_path: Path) -> None:
    database = tmp_path / "new" / "lfgpods.db"
    Store(str(database), "host").remember(POD)
    for path in database.parent.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert database.parent.stat().st_mode & 0o777 == 0o700


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


FIRST_SCHEMA = """
CREATE TABLE migrations (number INTEGER PRIMARY KEY, applied_at TEXT NOT NULL);
INSERT INTO migrations VALUES (1, '2026-01-01T00:00:00Z');
CREATE TABLE pods (
    host TEXT NOT NULL, owner_kind TEXT NOT NULL, owner_id TEXT NOT NULL, namespace TEXT NOT NULL,
    conversation_id TEXT, pod_name TEXT, status TEXT NOT NULL, reason TEXT NOT NULL, spec TEXT NOT NULL,
    volume TEXT NOT NULL, service TEXT NOT NULL, created_at TEXT, started_at TEXT, last_used_at TEXT,
    updated_at TEXT NOT NULL, PRIMARY KEY (host, owner_kind, owner_id), UNIQUE (host, namespace)
);
INSERT INTO pods VALUES (
    'host', 'project', 'My App', 'proj-my-app--x', 'c', 'p-1', 'running', '',
    '{"image": "busybox:1.36", "resources": {"memory": "1Gi", "cpu": "1", "memory_requests": "128Mi",
      "cpu_requests": "50m"}, "storage_size": "1Gi", "ports": [8080]}',
    '/v/proj-my-app--x',
    '{"name": "s", "ip": "10.0.0.1", "ports": [{"port": 8080, "node_port": 30001, "url": "http://h:30001"}]}',
    '2026-01-01T00:00:00Z', '2026-01-01T00:00:01Z', NULL, '2026-01-01T00:00:02Z'
);
"""


def test_the_database_of_the_first_version_gets_its_record(tmp_path: Path) -> None:
    database = str(tmp_path / "lfgpods.db")
    with closing(sqlite3.connect(database)) as connection, connection:
        connection.executescript(FIRST_SCHEMA)
    store = Store(database, "host")
    assert store.all() == [POD]
    assert store.events() == []
    store.finish(store.begin(Action.UPDATE, POD.owner))
    assert [event.outcome for event in Store(database, "host").events(POD.owner)] == [Outcome.DONE]


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_a_store_in_a_file_needs_no_postgresql_driver_and_leaves_peewee_to_others(tmp_path: Path) -> None:
    code = f"from lfgpods.store import Store\nStore({str(tmp_path / 'lfgpods.db')!r}, 'host')"
    assert "lfgpods.store.postgresql" not in modules_after(code)
    assert "peewee" in modules_after(f"import sys; sys.modules['psycopg'] = sys.modules['psycopg2'] = None\n{code}")
    after = modules_after(f"{code}\nimport peewee\nassert peewee.psycopg, 'it was made unusable for others'")
    assert {"peewee", "psycopg"} <= after


def test_a_new_file_is_opened_by_many_at_the_same_moment(tmp_path: Path) -> None:
    ready = threading.Barrier(8)

    def open_each(_: int) -> None:
        for number in range(30):
            ready.wait(20)
            Store(str(tmp_path / f"{number}.db"), "host").close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(open_each, range(8)))
