"""The file that stores the objects."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from lfgpods.core.errors import HostError
from lfgpods.hosts.embedded import EmbeddedHost, Faults
from lfgpods.hosts.embedded.cluster.kinds import NAMESPACE
from lfgpods.hosts.embedded.cluster.storage import Storage


def add(storage: Storage, name: str, *, fail: bool = False) -> None:
    with storage.transaction() as objects:
        objects.add(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        if fail:
            raise ValueError(name)


def names(storage: Storage) -> list[str]:
    with storage.transaction() as objects:
        return [record.name for record in objects.all(NAMESPACE)]


def test_an_exception_undoes_the_changes_of_its_transaction_only(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "host")
    add(storage, "a")
    with pytest.raises(ValueError, match="b"):
        add(storage, "b", fail=True)
    add(storage, "c")
    assert names(Storage(tmp_path / "host")) == ["a", "c"]


def test_concurrent_transactions_lose_no_change(tmp_path: Path) -> None:
    add(Storage(tmp_path), "a")

    def count(_: int) -> None:
        with Storage(tmp_path).transaction() as objects:
            labels = objects.all(NAMESPACE)[0].obj["metadata"].setdefault("labels", {})
            labels["count"] = str(int(labels.get("count", 0)) + 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(count, range(40)))
    with Storage(tmp_path).transaction() as objects:
        assert objects.all(NAMESPACE)[0].obj["metadata"]["labels"] == {"count": "40"}


def test_only_the_owner_can_read_the_folder_and_the_file(tmp_path: Path) -> None:
    Storage(tmp_path / "host")
    assert (tmp_path / "host").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "host" / "objects.db").stat().st_mode & 0o777 == 0o600


def test_a_broken_file_is_a_host_error(tmp_path: Path) -> None:
    (tmp_path / "objects.db").write_text("no database " * 100)
    with pytest.raises(HostError, match="cannot be used: file is not a database"):
        _ = EmbeddedHost(tmp_path).faults


def test_a_folder_that_cannot_be_created_is_a_host_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match=r"cannot be used: .*Not a directory"):
        EmbeddedHost(tmp_path / "file" / "host").faults = Faults()


def test_a_folder_of_another_version_is_a_host_error(tmp_path: Path) -> None:
    Storage(tmp_path)
    with closing(sqlite3.connect(tmp_path / "objects.db")) as database, database:
        database.execute("UPDATE facts SET value = '0' WHERE name = 'schema'")
    with pytest.raises(HostError, match="made by another version of lfgpods"):
        Storage(tmp_path)
