"""What is remembered of pods."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from lfgpods import store as stores
from lfgpods.core.changes import Action
from lfgpods.core.errors import StoreError
from lfgpods.core.owners import Owner
from lfgpods.core.pod import State
from lfgpods.store import engine, schema
from lfgpods.store.engine import Engine
from tests.contract.store.databases import Database
from tests.samples import POD


def test_a_pod_comes_back_as_it_was(database: Database) -> None:
    database.open().remember(POD)
    store = database.open()
    assert store.find(POD.owner) == POD
    assert store.all() == [POD]
    assert store.find(Owner.conversation("My App")) is None
    assert database.open("other host").all() == []


def test_the_name_of_a_pod_is_known_while_it_runs(database: Database) -> None:
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


def test_the_time_of_last_use_survives_what_is_learned_later(database: Database) -> None:
    store = database.open()
    store.remember(POD)
    store.touch(POD.owner)
    store.remember(replace(POD, status=State.STOPPED))
    found = store.find(POD.owner)
    assert found is not None
    assert (found.status, bool(found.last_used_at)) == (State.STOPPED, True)


def test_hundreds_are_remembered_and_forgotten_at_once_and_the_last_of_two_counts(database: Database) -> None:
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


def test_forgetting_is_for_one_owner(database: Database) -> None:
    store = database.open()
    other = replace(POD, owner=Owner.project("b"), namespace="proj-b")
    store.remember(POD, other)
    store.forget([POD.owner])
    assert store.all() == [other]


def test_all_are_in_the_order_of_their_bytes(database: Database) -> None:
    store = database.open()
    names = ["a-b", "a.b", "aB", "ab", "ä", "😀", "Z"]
    store.remember(*(replace(POD, owner=Owner.project(name), namespace=name) for name in names))
    assert [pod.namespace for pod in store.all()] == sorted(names, key=str.encode)


def test_two_owners_never_have_one_namespace_and_nothing_of_the_attempt_stays(database: Database) -> None:
    store = database.open()
    store.remember(POD)
    thief = replace(POD, owner=Owner.project("thief"))
    with pytest.raises(StoreError, match="cannot be used"):
        store.remember(replace(POD, owner=Owner.project("a"), namespace="proj-a"), thief)
    assert store.all() == [POD]


def test_volumes_are_found_below_their_root_and_nowhere_else(database: Database) -> None:
    store = database.open()
    store.remember(replace(POD, volume="/mnt/a_b/[x]/proj"))
    assert store.has_volumes_in("/mnt/a_b/[x]")
    assert store.has_volumes_in("/mnt/a_b")
    for root in ("/mnt/a", "/mnt/a_b/x", "/mnt/aXb", "/mnt/a_", "/mnt/%", "/mnt/a_b/[x]/proj"):
        assert not store.has_volumes_in(root)
    store.remember(replace(POD, status=State.CREATING, volume="/mnt/a_b/[x]/proj"))
    assert not store.has_volumes_in("/mnt/a_b/[x]")
    assert not database.open("other host").has_volumes_in("/mnt/a_b")


def test_migrations_run_once_each_and_a_newer_schema_is_left_alone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.open().remember(POD)
    ran: list[Engine] = []
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, ran.append))
    assert database.open().all() == [POD]
    database.open()
    assert len(ran) == 1
    monkeypatch.undo()
    with pytest.raises(StoreError, match="newer lfgpods"):
        database.open()


def test_a_migration_that_fails_leaves_nothing_behind(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(engine: Engine) -> None:
        engine.sql("CREATE TABLE half (a TEXT)")
        raise OSError("interrupted")

    with monkeypatch.context() as patched:
        patched.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, fail))
        with pytest.raises(StoreError, match="interrupted"):
            database.open()
    assert not {"half", "pods"} & database.tables()
    assert database.open().all() == []


WORKER = """
import sys
from dataclasses import replace
from lfgpods.core.owners import Owner
from lfgpods.store import Store
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


def test_what_several_remember_at_once_in_any_order_never_locks_them_out(database: Database) -> None:
    pods = [replace(POD, owner=Owner.project(str(n)), namespace=str(n)) for n in range(60)]
    store = database.open()

    def remember_and_forget(round: int) -> None:
        store.remember(*(pods if round % 2 else reversed(pods)))
        store.forget(pod.owner for pod in (reversed(pods[::3]) if round % 2 else pods[::3]))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(remember_and_forget, range(24)))
    store.remember(*pods)
    assert len(store.all()) == 60


def test_threads_share_few_connections_which_end_with_the_store(database: Database) -> None:
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
    store._engine.run(store.close)  # while one of them is in use
    assert database.connections() == 0


def test_every_query_has_its_index(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    store = database.open()
    asked: dict[str, Any] = {}
    execute: Callable[..., Any] = store._database.execute_sql

    def noted(sql: str, params: Any = ()) -> Any:
        asked[sql] = params
        return execute(sql, params)

    monkeypatch.setattr(store._database, "execute_sql", noted)
    monkeypatch.setattr(stores, "PRUNED_EVERY", 1)
    began = store.begin(Action.CREATE, POD.owner)
    store.finish(began)
    for owner in (POD.owner, None):
        store.events(owner)
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
