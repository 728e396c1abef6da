"""A copy of a database: complete and verified, or nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lfgpods.cli import main
from lfgpods.core.changes import Action
from lfgpods.core.errors import LfgpodsError, StoreError, UsageError
from lfgpods.core.owners import Owner
from lfgpods.store import copying
from lfgpods.store.copying import Copied, copy
from lfgpods.store.engine import Engine
from tests import postgres
from tests.contract.store.databases import Database
from tests.samples import POD

ODD = replace(
    POD, owner=Owner.conversation("ä😀'\"%\\"), namespace="conv-odd", reason="100 %\tof it", volume="/v/[*]?_%"
)


def filled(database: Database) -> Database:
    store, other = database.open(), database.open("other host")
    store.remember(POD, ODD)
    store.touch(POD.owner)
    other.remember(replace(POD, status=POD.status, pod_name=None, created_at=None))
    store.finish(store.begin(Action.CREATE, POD.owner, "busybox"), "it broke")
    store.begin(Action.SYNC, None)
    other.finish(other.begin(Action.PURGE, ODD.owner))
    database.ask("DELETE FROM events WHERE id = 1")
    return database


def rows(database: Database) -> list[list[tuple[object, ...]]]:
    return [
        database.ask("SELECT * FROM pods ORDER BY host, owner_kind, owner_id"),
        database.ask("SELECT * FROM events ORDER BY id"),
    ]


def test_every_row_is_copied_unchanged_and_ids_continue(
    database: Database, target: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_BATCH", 2)
    before = rows(filled(database))
    copied = copy(database.place, target.place)
    assert (copied.hosts, copied.pods, copied.events) == (2, 3, 2)
    assert rows(target) == before == rows(database)
    store = target.open()
    assert store.all() == database.open().all()
    assert [change.id for change in store.changes()] == [2]
    assert store.begin(Action.CREATE, POD.owner) == 4


def test_an_empty_database_is_copied_too(database: Database, target: Database) -> None:
    database.open()
    assert copy(database.place, target.place).pods == 0
    assert target.open().begin(Action.CREATE, POD.owner) == 1


@pytest.mark.parametrize("fill", [lambda store: store.remember(ODD), lambda store: store.begin(Action.SYNC, None)])
def test_a_target_that_is_not_empty_is_left_alone(
    fill: Callable[[object], object], database: Database, target: Database
) -> None:
    filled(database)
    fill(target.open("some host"))
    before = rows(target)
    with pytest.raises(StoreError, match="is not empty") as refused:
        copy(database.place, target.place)
    assert "Nothing was changed" in refused.value.hint
    assert rows(target) == before


def test_a_copy_that_differs_is_rolled_back(
    database: Database, target: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(database)

    def spoil(engine: Engine, id: int) -> None:
        engine.execute("UPDATE pods SET reason = 'spoilt' WHERE namespace = 'conv-odd'")

    monkeypatch.setattr(Engine, "continue_after", spoil)
    for kind in Engine.__subclasses__():
        monkeypatch.setattr(kind, "continue_after", spoil)
    with pytest.raises(StoreError, match="differs"):
        copy(database.place, target.place)
    assert rows(target) == [[], []]


def test_a_source_or_target_that_cannot_be_used_is_one_clear_error(database: Database, tmp_path: Path) -> None:
    database.open()
    for source, target, expected in (
        (str(tmp_path / "none.db"), database.place, StoreError),
        (database.place, database.place, UsageError),
        (database.place, "/proc/no/such.db", StoreError),
    ):
        with pytest.raises(LfgpodsError) as refused:
            copy(source, target)
        assert isinstance(refused.value, expected)
        assert refused.value.hint
    assert not (tmp_path / "none.db").exists()


def test_the_command_line_reports_the_copy_and_shows_no_password(
    database: Database, target: Database, empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled(database)
    assert main(["db", "copy", database.place, target.place, "-vv", "-o", "json"]) == 0
    told = capsys.readouterr()
    names = database.open()._engine.name, target.open()._engine.name
    assert Copied(**json.loads(told.out)) == Copied(*names, 2, 3, 2)
    assert main(["db", "copy", database.place, target.place]) == 1
    refused = capsys.readouterr()
    assert refused.out == ""
    assert "is not empty" in refused.err
    assert main(["db", "copy", database.place, "mysql://u@h/db"]) == 2
    everything = told.out + told.err + refused.err + (empty_folder / "data/lfgpods/lfgpods.log").read_text()
    for secret in (postgres.PASSWORD, postgres.ENCODED, "s3cret"):
        assert secret not in everything
