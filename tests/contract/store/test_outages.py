"""PostgreSQL restarts, stops, freezes or refuses: acknowledged writes are kept, everything else is an error."""

from __future__ import annotations

import contextlib
import signal
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lfgpods.cli import main
from lfgpods.core.changes import Action, Outcome
from lfgpods.core.errors import SettingsError, StoreError
from lfgpods.core.owners import Owner
from lfgpods.core.settings import load_settings
from lfgpods.core.text import masked
from lfgpods.store import engine, postgresql
from lfgpods.store import store as stores
from lfgpods.store.store import Store
from tests import postgres
from tests.contract.store.databases import PostgresqlDatabase
from tests.samples import POD
from tests.waiting import eventually

pytestmark = pytest.mark.postgres
SECRETS = (postgres.PASSWORD, postgres.ENCODED, "s3cret", "wrong-one")


@pytest.fixture(scope="module")
def own_server() -> Iterator[postgres.Server]:
    with postgres.server() as running:
        yield running


@pytest.fixture
def restartable(own_server: postgres.Server) -> Iterator[PostgresqlDatabase]:
    opened = PostgresqlDatabase(own_server)
    yield opened
    opened.close()


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_the_store_reconnects_after_a_server_restart(restartable: PostgresqlDatabase, how: signal.Signals) -> None:
    store = restartable.open()
    store.remember(POD)
    began = store.begin(Action.CREATE, POD.owner)
    restartable.server.restart(how)
    store.finish(began)
    restartable.server.restart(how)
    assert store.find(POD.owner) == POD
    restartable.server.restart(how)
    assert store.begin(Action.UPDATE, POD.owner) > began
    assert [event.outcome for event in store.changes()] == [Outcome.RUNNING, Outcome.DONE]


def test_a_call_waits_for_a_restarting_server(restartable: PostgresqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    store = restartable.open()
    store.remember(POD)
    restartable.server.stop()
    attempts: list[object] = []
    connect = postgresql._Adapter.connect

    def counted(*arguments: Any, **parameters: Any) -> Any:
        attempts.append(None)
        return connect(*arguments, **parameters)

    monkeypatch.setattr(postgresql._Adapter, "connect", counted)
    with ThreadPoolExecutor(1) as threads:
        finding = threads.submit(store.find, POD.owner)
        refused = eventually(lambda: attempts)
        restartable.server.start()
        assert finding.result(30) == POD
    assert refused


def cut_at(word: str, restartable: PostgresqlDatabase, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Make the server close the connection right before the next statement that begins with WORD is sent."""
    cut: list[str] = []
    execute = psycopg.Cursor.execute

    def cutting(cursor: psycopg.Cursor[Any], query: Any, *rest: Any, **options: Any) -> Any:
        if not cut and str(query).startswith(word) and isinstance(cursor.connection, postgresql._Connection):
            cut.append(query)
            restartable.server.ask(f"SELECT pg_terminate_backend({cursor.connection.info.backend_pid}, 10000)")
        return execute(cursor, query, *rest, **options)

    monkeypatch.setattr(psycopg.Cursor, "execute", cutting)
    return cut


@pytest.mark.parametrize("word", ["BEGIN", "INSERT", "DELETE"])
def test_a_transaction_that_lost_its_connection_runs_again_as_a_whole(
    word: str, restartable: PostgresqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = restartable.open()
    monkeypatch.setattr(stores, "PRUNE_INTERVAL", 1)
    cut = cut_at(word, restartable, monkeypatch)
    began = store.begin(Action.CREATE, POD.owner)
    assert len(cut) == 1
    assert [event.id for event in store.changes()] == [began]


def test_a_change_that_lost_its_connection_in_the_commit_is_not_written_twice(
    restartable: PostgresqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = restartable.open()
    cut = cut_at("COMMIT", restartable, monkeypatch)
    with pytest.raises(StoreError, match="not known whether the write was committed"):
        store.begin(Action.CREATE, POD.owner)
    assert len(cut) == 1
    assert store.changes() == []
    store.begin(Action.CREATE, POD.owner)
    assert len(store.changes()) == 1


def test_pods_that_lost_their_connection_in_the_commit_are_saved_again(
    restartable: PostgresqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = restartable.open()
    other = replace(POD, owner=Owner.project("other"), namespace="proj-other")
    cut = cut_at("COMMIT", restartable, monkeypatch)
    store.remember(POD, other)
    assert len(cut) == 1
    assert {pod.owner for pod in store.all()} == {POD.owner, other.owner}


WORKER = """
import sys
from dataclasses import replace
from lfgpods.core.errors import StoreError
from lfgpods.core.changes import Action
from lfgpods.core.owners import Owner
from lfgpods.store.store import Store
from tests.samples import POD

store, me = Store(sys.argv[1], "host"), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for i in range(50):
    owner = Owner.project(f"{me}-{i}")
    try:
        number = store.begin(Action.CREATE, owner)
        store.remember(replace(POD, owner=owner, namespace=owner.id))
        store.touch(owner)
        assert store.find(owner).last_used_at
        store.finish(number)
        print(number, owner.id, flush=True)
    except StoreError as error:
        print("error", error, flush=True)
store.close()
"""


def test_eight_processes_lose_nothing_while_the_server_restarts(restartable: PostgresqlDatabase) -> None:
    workers = [restartable.python(WORKER, str(n)) for n in range(8)]
    with contextlib.ExitStack() as all_of_them:
        for worker in workers:
            all_of_them.enter_context(worker)
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()
        restarts = 0
        while restarts < 3 and all(worker.poll() is None for worker in workers):
            restartable.server.restart()
            restarts += 1
        assert restarts
        told = [worker.communicate(timeout=120)[0].splitlines() for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 8
    lines = [line for lines in told for line in lines]
    errors = [line for line in lines if line.startswith("error")]
    assert all("is not known" in line for line in errors), errors  # the one write that cannot be repeated
    acknowledged = [line.split() for line in lines if not line.startswith("error")]
    assert len(acknowledged) + len(errors) == 8 * 50
    store = restartable.open()
    done = {event.id: event for event in store.changes(limit=10_000)}
    for number, id in acknowledged:
        event = done[int(number)]
        assert (event.owner, event.outcome) == (Owner.project(id), Outcome.DONE)
    assert {pod.owner.id for pod in store.all()} >= {id for _, id in acknowledged}


def test_a_stopped_server_is_one_clear_error_within_the_limits(
    restartable: PostgresqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "RECONNECT_TIMEOUT", 0.3)
    store = restartable.open()
    restartable.server.stop()
    try:
        with pytest.raises(StoreError) as known:
            store.touch(POD.owner)
        began = time.monotonic()
        with pytest.raises(StoreError) as new:
            restartable.open()
        assert time.monotonic() - began < 5
    finally:
        restartable.server.start()
    for refused in (known, new):
        assert str(restartable.server.port) in refused.value.message
        assert "LFGPODS_DATABASE" in refused.value.hint
        assert "\n" not in refused.value.message


def test_a_call_to_a_frozen_server_ends(restartable: PostgresqlDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "ANSWER_TIMEOUT", 0.4)
    monkeypatch.setattr(engine, "RECONNECT_TIMEOUT", 0.3)
    monkeypatch.setitem(postgresql._DEFAULTS, "connect_timeout", ("PGCONNECT_TIMEOUT", 2))
    store = restartable.open()
    store.remember(POD)
    with restartable.server.frozen():
        began = time.monotonic()
        with pytest.raises(StoreError):
            store.find(POD.owner)
        with pytest.raises(StoreError, match="timeout"):
            restartable.open()
        assert time.monotonic() - began < 10
    assert store.find(POD.owner) == POD


def test_waiting_for_a_database_lock_has_a_limit(
    restartable: PostgresqlDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(postgresql._MILLISECONDS, "statement_timeout", 300)
    store = restartable.open()
    store.remember(POD)
    with psycopg.connect(restartable.place) as other:
        other.execute("LOCK TABLE pods IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreError, match="statement timeout"):
            store.find(POD.owner)
    assert store.find(POD.owner) == POD


def test_a_fork_leaves_the_connections_of_its_parent_alone(restartable: PostgresqlDatabase) -> None:
    code = """
import os, sys
from lfgpods.store.store import Store
store = Store(sys.argv[1], "host")
def served_by():
    return store._engine.run(lambda: store._engine.execute("SELECT pg_backend_pid()").fetchone()[0])
mine = served_by()
child = os.fork()
if not child:
    sys.exit(served_by() == mine)
assert os.waitpid(child, 0)[1] == 0
assert served_by() == mine
store.close()
"""
    with restartable.python(code) as parent:
        assert parent.wait(60) == 0


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://lfgpods:s3cret/with@h/db", "postgresql://lfgpods:s3cret@with@h/db", "postgresql://lfgpods:s3cret@h:port/db",
        "postgresql://lfgpods:s3cret@h/db?nosuch=s3cret", "postgresql://lfgpods:%s3cret@h/db",
    ],
)  # fmt: skip
def test_a_malformed_url_is_one_clear_error_that_does_not_repeat_it(url: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Store(url, "host")
    assert "percent-encoded" in refused.value.hint
    assert "s3cret" not in refused.value.message + refused.value.hint


def test_no_password_shows_in_errors_logs_and_settings(
    restartable: PostgresqlDatabase,
    empty_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = []
    for url in (
        restartable.server.url("nosuch"),
        restartable.server.url("postgres", password=":wrong-one"),
        restartable.place,
    ):
        monkeypatch.setenv("LFGPODS_HOST", "embedded")
        monkeypatch.setenv("LFGPODS_DATABASE", url)
        assert load_settings().database == url
        texts.append(repr(load_settings()))
        if url == restartable.place:
            restartable.open()
            restartable.ask("DROP TABLE events")
        assert main(["history", "-vv"]) == 1
        with pytest.raises(StoreError) as refused, closing(Store(url, "host")) as store:
            store.changes()
        texts.append("".join(traceback.format_exception(refused.value)))
    texts += [*capsys.readouterr(), (empty_folder / "data/lfgpods/lfgpods.log").read_text()]
    assert "password authentication failed" in texts[-1]
    assert masked(f"it is {postgres.PASSWORD}") == "it is ***"
    for text in texts:
        assert not [secret for secret in SECRETS if secret in text]


def test_the_password_may_come_from_elsewhere(
    restartable: PostgresqlDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = restartable.place.rpartition("/")[2]
    bare = restartable.server.url(name, password="").replace("postgresql://", "postgres://")
    with pytest.raises(StoreError, match="password"):
        Store(bare, "host")
    monkeypatch.setenv("PGPASSWORD", postgres.PASSWORD)
    Store(bare, "host").close()
    monkeypatch.delenv("PGPASSWORD")
    file = tmp_path / "pgpass"
    file.write_text(f"127.0.0.1:*:*:lfgpods:{postgres.PASSWORD.replace(':', chr(92) + ':')}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))
    Store(bare, "host").close()


def test_without_psycopg_the_error_says_how_to_install_it(restartable: PostgresqlDatabase) -> None:
    code = """
import sys
sys.modules["psycopg"] = None
from lfgpods.core.errors import SettingsError
from lfgpods.store.store import Store
try:
    Store(sys.argv[1], "host")
except SettingsError as error:
    print(error.message, error.hint)
"""
    with restartable.python(code) as process:
        told = process.communicate(timeout=60)[0]
    assert "psycopg is not installed" in told
    assert "pip install 'lfgpods[postgres]'" in told
