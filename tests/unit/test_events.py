"""The record of changes: an intent before, an outcome after, and what is told of the ones that have none."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lfgpods import processes
from lfgpods import store as stores
from lfgpods.errors import StoreError
from lfgpods.events import Action, Outcome
from lfgpods.naming import Owner
from lfgpods.store import Store
from tests.unit.test_store import POD

APP, OTHER = Owner.project("My App"), Owner.conversation("My App")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def database(tmp_path: Path) -> str:
    return str(tmp_path / "lfgpods.db")


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_a_change_is_recorded_from_its_beginning_to_its_end(database: str) -> None:
    store = Store(database, "host")
    began = store.begin(Action.CREATE, APP, "busybox:1.36")
    (event,) = Store(database, "host").events()
    assert (event.id, event.owner, event.action, event.detail) == (began, APP, Action.CREATE, "busybox:1.36")
    assert (event.outcome, event.duration, event.error) == (Outcome.RUNNING, None, "")
    assert event.who == processes.user()
    assert event.origin == f"{processes.program()} on {os.uname().nodename}"
    assert abs(datetime.fromisoformat(event.started_at) - datetime.now(UTC)) < timedelta(seconds=60)
    assert event.started_at.endswith("Z")
    store.finish(began)
    (event,) = Store(database, "host").events()
    assert (event.outcome, event.error) == (Outcome.DONE, "")
    assert event.duration is not None
    assert 0 <= event.duration < 60


def test_a_failure_is_recorded_in_one_line_and_the_first_outcome_stays(database: str) -> None:
    store = Store(database, "host")
    began = store.begin(Action.DELETE, APP)
    store.finish(began, "it\nbroke \ud800")
    store.finish(began)
    (event,) = store.events()
    assert (event.outcome, event.error) == (Outcome.FAILED, "it broke \\ud800")
    store.finish(store.begin(Action.PURGE, APP), interrupted=True)
    assert store.events()[0].outcome is Outcome.INTERRUPTED


def test_no_secret_gets_into_the_record(database: str) -> None:
    store = Store(database, "host")
    store.finish(store.begin(Action.CREATE, APP, "https://ada:hunter2@example.com/x"), "refused: token=hunter2")
    assert b"hunter2" not in Path(database).read_bytes() + Path(f"{database}-wal").read_bytes()


def test_newest_first_of_one_owner_or_of_all_and_of_this_host_only(database: str) -> None:
    store = Store(database, "host")
    for owner in (APP, OTHER, None, APP):
        store.finish(store.begin(Action.SYNC if owner is None else Action.CREATE, owner))
    Store(database, "other host").begin(Action.CREATE, APP)
    assert [event.owner for event in store.events()] == [APP, None, OTHER, APP]
    assert [event.id for event in store.events(APP)] == [4, 1]
    assert [event.id for event in store.events(limit=2)] == [4, 3]
    assert store.unfinished(APP) == []
    pending = store.begin(Action.GC, None)
    assert [event.id for event in store.unfinished(None)] == [pending]
    assert store.unfinished(APP) == []


KILLED = """
import sys
from lfgpods.events import Action
from lfgpods.naming import Owner
from lfgpods.store import Store
Store(sys.argv[1], "host").begin(Action.CREATE, Owner.project("My App"))
print("begun", flush=True)
sys.stdin.read()
"""


def test_who_is_killed_on_the_way_leaves_an_interrupted_change(database: str) -> None:
    with python(KILLED, database) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"
        store = Store(database, "host")
        assert [event.outcome for event in store.unfinished(APP)] == [Outcome.RUNNING]
        worker.send_signal(signal.SIGKILL)
    assert [event.outcome for event in store.unfinished(APP)] == [Outcome.INTERRUPTED]
    assert [event.outcome for event in store.events()] == [Outcome.INTERRUPTED]


@pytest.mark.parametrize(("minutes", "outcome"), [(5, Outcome.RUNNING), (70, Outcome.INTERRUPTED)])
def test_of_a_process_elsewhere_is_believed_that_it_runs_for_a_while(
    minutes: int, outcome: Outcome, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "this_process", lambda: "unknown:1:elsewhere")
    began = datetime.now(UTC) - timedelta(minutes=minutes)
    monkeypatch.setattr(stores, "_now_exactly", lambda: began.isoformat(timespec="milliseconds"))
    Store(database, "host").begin(Action.CREATE, APP)
    monkeypatch.undo()
    assert Store(database, "host").events()[0].outcome is outcome


WORKER = """
import sys
from lfgpods.events import Action
from lfgpods.naming import Owner
from lfgpods.store import Store
store, me = Store(sys.argv[1], "host"), sys.argv[2]
for i in range(25):
    store.finish(store.begin(Action.CREATE, Owner.project(me), str(i)), "odd" * (i % 2))
"""


def test_eight_processes_at_once_lose_no_event(database: str) -> None:
    workers = [python(WORKER, database, str(n)) for n in range(8)]
    for worker in workers:
        with worker:
            assert worker.wait(60) == 0
    store = Store(database, "host")
    assert len({event.id for event in store.events(limit=1000)}) == 8 * 25
    for n in range(8):
        mine = store.events(Owner.project(str(n)))
        assert [event.detail for event in mine] == [str(i) for i in reversed(range(25))]
        assert [event.outcome for event in mine] == [Outcome.DONE, Outcome.FAILED] * 12 + [Outcome.DONE]


def test_the_oldest_make_room(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "EVENTS_KEPT", 3)
    other = Store(database, "other host")
    other.begin(Action.CREATE, APP)
    store = Store(database, "host")
    for number in range(6):
        store.begin(Action.CREATE, APP, str(number))
        assert len(store.events()) == min(number + 1, 3)
    assert [event.detail for event in store.events()] == ["5", "4", "3"]
    assert len(other.events()) == 1


def test_every_query_has_its_index(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(database, "host")
    asked: dict[str, Any] = {}
    execute: Callable[..., Any] = store._database.execute_sql

    def noted(sql: str, params: Any = ()) -> Any:
        asked[sql] = params
        return execute(sql, params)

    monkeypatch.setattr(store._database, "execute_sql", noted)
    began = store.begin(Action.CREATE, APP)
    store.finish(began)
    for owner in (APP, None):
        store.events(owner)
        store.unfinished(owner)
    store.remember(POD)
    store.find(POD.owner)
    store.touch(POD.owner)
    store.forget([POD.owner])
    plans = {
        sql: [row[3] for row in execute(f"EXPLAIN QUERY PLAN {sql}", params)]
        for sql, params in asked.items()
        if sql.startswith(("SELECT", "UPDATE", "DELETE"))
    }
    assert len(plans) >= 9
    for sql, steps in plans.items():
        assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step], (sql, steps)
    used = str(plans)
    for index in ("events_of_host", "events_of_owner", "unfinished_events", "sqlite_autoindex_pods_1"):
        assert index in used


def test_a_record_that_cannot_be_written_is_one_clear_error(database: str) -> None:
    store = Store(database, "host")
    with sqlite3.connect(database) as connection:
        connection.execute("DROP TABLE events")
    connection.close()
    with pytest.raises(StoreError, match="events"):
        store.begin(Action.CREATE, APP)


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


def test_the_database_of_the_first_version_gets_its_record(database: str) -> None:
    with sqlite3.connect(database) as connection:
        connection.executescript(FIRST_SCHEMA)
    connection.close()
    store = Store(database, "host")
    assert store.all() == [POD]
    assert store.events() == []
    store.finish(store.begin(Action.UPDATE, POD.owner))
    assert [event.outcome for event in Store(database, "host").events(POD.owner)] == [Outcome.DONE]
