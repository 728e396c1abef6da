"""The record of changes: the intent before, the outcome after, and changes without an outcome."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta

import pytest

from lfgpods.core import processes
from lfgpods.core.changes import Action, Outcome
from lfgpods.core.errors import StoreError
from lfgpods.core.owners import Owner
from lfgpods.store import store as stores
from tests.contract.store.databases import Database

APP, OTHER = Owner.project("My App"), Owner.conversation("My App")


def test_a_change_is_recorded_from_its_beginning_to_its_end(database: Database) -> None:
    store = database.open()
    began = store.begin(Action.CREATE, APP, "busybox:1.36")
    (event,) = database.open().changes()
    assert (event.id, event.owner, event.action, event.detail) == (began, APP, Action.CREATE, "busybox:1.36")
    assert (event.outcome, event.duration, event.error) == (Outcome.RUNNING, None, "")
    assert event.who == processes.user()
    assert event.origin == f"{processes.program()} on {os.uname().nodename}"
    assert abs(datetime.fromisoformat(event.started_at) - datetime.now(UTC)) < timedelta(seconds=60)
    assert event.started_at.endswith("Z")
    store.finish(began)
    (event,) = database.open().changes()
    assert (event.outcome, event.error) == (Outcome.DONE, "")
    assert event.duration is not None
    assert 0 <= event.duration < 60


def test_a_failure_is_recorded_in_one_line_and_keeps_its_first_outcome(database: Database) -> None:
    store = database.open()
    began = store.begin(Action.DELETE, APP)
    store.finish(began, "it\nbroke \ud800")
    store.finish(began)
    (event,) = store.changes()
    assert (event.outcome, event.error) == (Outcome.FAILED, "it broke \\ud800")
    store.finish(store.begin(Action.PURGE, APP), interrupted=True)
    assert store.changes()[0].outcome is Outcome.INTERRUPTED


def test_the_record_holds_no_secret(database: Database) -> None:
    store = database.open()
    store.finish(store.begin(Action.CREATE, APP, "https://ada:hunter2@example.com/x"), "refused: token=hunter2")
    assert b"hunter2" not in database.content()


def test_changes_are_listed_newest_first_by_owner_or_for_this_host(database: Database) -> None:
    store = database.open()
    for owner in (APP, OTHER, None, APP):
        store.finish(store.begin(Action.SYNC if owner is None else Action.CREATE, owner))
    database.open("other host").begin(Action.CREATE, APP)
    assert [event.owner for event in store.changes()] == [APP, None, OTHER, APP]
    assert [event.id for event in store.changes(APP)] == [4, 1]
    assert [event.id for event in store.changes(limit=2)] == [4, 3]
    assert store.unfinished(APP) == []
    pending = store.begin(Action.GC, None)
    assert [event.id for event in store.unfinished(None)] == [pending]
    assert store.unfinished(APP) == []


KILLED = """
import sys
from lfgpods.core.changes import Action
from lfgpods.core.owners import Owner
from lfgpods.store.store import Store
Store(sys.argv[1], "host").begin(Action.CREATE, Owner.project("My App"))
print("begun", flush=True)
sys.stdin.read()
"""


def test_a_killed_process_leaves_an_interrupted_change(database: Database) -> None:
    with database.python(KILLED) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "begun\n"
        store = database.open()
        assert [event.outcome for event in store.unfinished(APP)] == [Outcome.RUNNING]
        worker.send_signal(signal.SIGKILL)
    assert [event.outcome for event in store.unfinished(APP)] == [Outcome.INTERRUPTED]
    assert [event.outcome for event in store.changes()] == [Outcome.INTERRUPTED]


@pytest.mark.parametrize(("minutes", "outcome"), [(5, Outcome.RUNNING), (70, Outcome.INTERRUPTED)])
def test_a_process_on_another_machine_counts_as_running_for_an_hour(
    minutes: int, outcome: Outcome, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "this_process", lambda: "unknown:1:elsewhere")
    began = datetime.now(UTC) - timedelta(minutes=minutes)
    monkeypatch.setattr(stores, "_now_exactly", lambda: began.isoformat(timespec="milliseconds"))
    database.open().begin(Action.CREATE, APP)
    monkeypatch.undo()
    assert database.open().changes()[0].outcome is outcome


WORKER = """
import sys
from lfgpods.core.changes import Action
from lfgpods.core.owners import Owner
from lfgpods.store.store import Store
store, me = Store(sys.argv[1], "host"), sys.argv[2]
for i in range(25):
    store.finish(store.begin(Action.CREATE, Owner.project(me), str(i)), "odd" * (i % 2))
"""


def test_eight_processes_at_once_lose_no_change(database: Database) -> None:
    workers = [database.python(WORKER, str(n)) for n in range(8)]
    for worker in workers:
        with worker:
            assert worker.wait(60) == 0
    store = database.open()
    assert len({event.id for event in store.changes(limit=1000)}) == 8 * 25
    for n in range(8):
        mine = store.changes(Owner.project(str(n)), limit=25)
        assert [event.detail for event in mine] == [str(i) for i in reversed(range(25))]
        assert [event.outcome for event in mine] == [Outcome.DONE, Outcome.FAILED] * 12 + [Outcome.DONE]


def test_the_oldest_changes_are_removed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "MAX_CHANGES", 3)
    monkeypatch.setattr(stores, "PRUNE_INTERVAL", 1)
    other = database.open("other host")
    other.begin(Action.CREATE, APP)
    store = database.open()
    for number in range(6):
        store.begin(Action.CREATE, APP, str(number))
        assert len(store.changes()) == min(number + 1, 3)
    assert [event.detail for event in store.changes()] == ["5", "4", "3"]
    assert len(other.changes()) == 1


def test_a_change_that_cannot_be_recorded_is_one_clear_error(database: Database) -> None:
    store = database.open()
    database.ask("DROP TABLE events")
    with pytest.raises(StoreError, match="events"):
        store.begin(Action.CREATE, APP)


def test_the_oldest_changes_are_removed_even_if_two_hosts_alternate(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "MAX_CHANGES", 3)
    hosts = [database.open(name) for name in ("one", "two")]
    for _ in range(stores.PRUNE_INTERVAL + 2):
        for host in hosts:
            host.begin(Action.CREATE, APP)
    assert all(3 <= len(host.changes(limit=1000)) < stores.PRUNE_INTERVAL for host in hosts)
