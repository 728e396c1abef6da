"""The rows of pods."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from lfgpods.core.changes import Action
from lfgpods.core.errors import StoreError
from lfgpods.core.owners import Owner
from lfgpods.core.pod import State
from lfgpods.store import engine
from lfgpods.store import store as stores
from tests.contract.store.databases import Database
from tests.samples import POD


def test_a_pod_comes_back_as_it_was(database: Database) -> None:
    database.open().remember(POD)
    store = database.open()
    assert store.find(POD.owner) == POD
    assert store.all() == [POD]
    assert store.find(Owner.conversation("My App")) is None
    assert database.open("other host").all() == []


def test_the_store_names_the_pod_of_an_owner_while_it_runs(database: Database) -> None:
    store = database.open()
    assert store.running_pod(POD.owner) is None
    for status in State:
        store.remember(replace(POD, status=status))
        assert store.running_pod(POD.owner) == (POD.pod_name if status is State.RUNNING else None)
    store.remember(replace(POD, status=State.RUNNING))
    assert POD.pod_name
    assert store.running_pod(Owner.conversation(POD.owner.id)) is None
    assert database.open("other host").running_pod(POD.owner) is None
    store.remember(replace(POD, status=State.RUNNING, pod_name=None))
    assert store.running_pod(POD.owner) is None


def test_the_time_of_last_use_survives_a_later_save(database: Database) -> None:
    store = database.open()
    store.remember(POD)
    store.touch(POD.owner)
    store.remember(replace(POD, status=State.STOPPED))
    found = store.find(POD.owner)
    assert found is not None
    assert (found.status, bool(found.last_used_at)) == (State.STOPPED, True)


def test_hundreds_of_pods_are_saved_and_forgotten_at_once_and_the_last_duplicate_counts(database: Database) -> None:
    store = database.open()
    pods = [replace(POD, owner=Owner.project(f"{n:03}"), namespace=f"proj-{n:03}") for n in range(150)]
    store.touch(POD.owner)
    store.remember(*pods, replace(pods[0], status=State.STOPPED))
    store.touch(pods[1].owner)
    store.remember(*pods[1:])
    assert store.all() == [
        replace(pods[0], status=State.STOPPED),
        *(
            replace(pod, last_used_at=pod_found.last_used_at)
            for pod, pod_found in zip(pods[1:], store.all()[1:], strict=True)
        ),
    ]
    assert [pod.owner for pod in store.all() if pod.last_used_at] == [pods[1].owner]
    store.forget(pod.owner for pod in pods[:149])
    assert store.all() == pods[149:]


def test_forget_deletes_the_pod_of_one_owner_only(database: Database) -> None:
    store = database.open()
    other = replace(POD, owner=Owner.project("b"), namespace="proj-b")
    store.remember(POD, other)
    store.forget([POD.owner])
    assert store.all() == [other]


def test_pods_are_sorted_by_the_bytes_of_their_namespace(database: Database) -> None:
    store = database.open()
    names = ["a-b", "a.b", "aB", "ab", "ä", "😀", "Z"]
    store.remember(*(replace(POD, owner=Owner.project(name), namespace=name) for name in names))
    assert [pod.namespace for pod in store.all()] == sorted(names, key=str.encode)


def test_two_owners_never_share_a_namespace_and_a_failed_save_leaves_nothing(database: Database) -> None:
    store = database.open()
    store.remember(POD)
    thief = replace(POD, owner=Owner.project("thief"))
    with pytest.raises(StoreError, match="cannot be used"):
        store.remember(replace(POD, owner=Owner.project("a"), namespace="proj-a"), thief)
    assert store.all() == [POD]


def test_volumes_are_found_below_their_root_only(database: Database) -> None:
    store = database.open()
    store.remember(replace(POD, volume="/mnt/a_b/[x]/proj"))
    assert store.has_volumes_in("/mnt/a_b/[x]")
    assert store.has_volumes_in("/mnt/a_b")
    for root in ("/mnt/a", "/mnt/a_b/x", "/mnt/aXb", "/mnt/a_", "/mnt/%", "/mnt/a_b/[x]/proj"):
        assert not store.has_volumes_in(root)
    store.remember(replace(POD, status=State.CREATING, volume="/mnt/a_b/[x]/proj"))
    assert not store.has_volumes_in("/mnt/a_b/[x]")
    assert not database.open("other host").has_volumes_in("/mnt/a_b")


WORKER = """
import sys
from dataclasses import replace
from lfgpods.core.owners import Owner
from lfgpods.store.store import Store
from tests.samples import POD

store, me = Store(sys.argv[1], "host"), sys.argv[2]
for i in range(25):
    store.remember(replace(POD, owner=Owner.project(f"{me}-{i}"), namespace=f"{me}-{i}"))
    store.remember(POD)
    store.touch(POD.owner)
store.close()
"""


def test_eight_processes_open_a_new_database_and_lose_nothing(database: Database) -> None:
    workers = [database.python(WORKER, str(n)) for n in range(8)]
    for worker in workers:
        with worker:
            assert worker.wait(60) == 0
    assert len(database.open().all()) == 8 * 25 + 1


def test_concurrent_saves_in_any_order_never_deadlock(database: Database) -> None:
    pods = [replace(POD, owner=Owner.project(str(n)), namespace=str(n)) for n in range(60)]
    store = database.open()

    def remember_and_forget(round: int) -> None:
        store.remember(*(pods if round % 2 else reversed(pods)))
        store.forget(pod.owner for pod in (reversed(pods[::3]) if round % 2 else pods[::3]))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(remember_and_forget, range(24)))
    store.remember(*pods)
    assert len(store.all()) == 60


def test_threads_share_a_few_connections_that_close_with_the_store(database: Database) -> None:
    store = database.open()
    store.remember(POD)
    most = 0
    for _ in range(3):
        began = threading.Barrier(20)

        def use(began: threading.Barrier = began) -> None:
            began.wait(20)
            store.touch(POD.owner)
            assert store.find(POD.owner) is not None

        threads = [threading.Thread(target=use) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        most = max(most, database.connections())
    assert 1 <= most <= engine.CONNECTIONS
    store._engine.run(store.close)  # while one connection is in use
    assert database.connections() == 0


def test_every_query_uses_an_index(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    store = database.open()
    asked: dict[str, Any] = {}
    execute: Callable[..., Any] = store._database.execute_sql

    def noted(sql: str, params: Any = ()) -> Any:
        asked[sql] = params
        return execute(sql, params)

    monkeypatch.setattr(store._database, "execute_sql", noted)
    monkeypatch.setattr(stores, "PRUNE_INTERVAL", 1)
    began = store.begin(Action.CREATE, POD.owner)
    store.finish(began)
    for owner in (POD.owner, None):
        store.changes(owner)
        store.unfinished(owner)
    store.remember(POD)
    store.find(POD.owner)
    store.all()
    store.has_volumes_in("/mnt/volumes")
    store.touch(POD.owner)
    store.forget([POD.owner])
    monkeypatch.undo()
    queries = {sql: params for sql, params in asked.items() if sql.startswith(("SELECT", "UPDATE", "DELETE"))}
    assert len(queries) >= 11
    plans = {sql: database.plan(store, sql, params) for sql, params in queries.items()}
    for sql, steps in plans.items():
        assert not [step for step in steps if any(scan in step for scan in database.scans)], (sql, steps)
    used = str(plans)
    for index in ("events_of_host", "events_of_owner", "unfinished_events", "volumes_of_host"):
        assert index in used
