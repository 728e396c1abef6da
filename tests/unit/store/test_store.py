"""What is specific to SQLite. The contract tests cover what both kinds of database share."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lfgpods.core.errors import StoreError
from lfgpods.store.store import Store
from tests.samples import POD


def test_only_the_owner_can_read_the_file(tmp_path: Path) -> None:
    database = tmp_path / "new" / "lfgpods.db"
    Store(str(database), "host").remember(POD)
    for path in database.parent.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
    assert database.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("path", ["/proc/no/such/folder/db", "/"])
def test_an_impossible_path_is_one_clear_error(path: str) -> None:
    with pytest.raises(StoreError) as refused:
        Store(path, "host")
    assert "LFGPODS_DATABASE" in refused.value.hint


def test_a_file_that_is_not_a_database_is_one_clear_error(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.db"
    garbage.write_text("this is not a database, and long enough to be seen as none" * 100)
    with pytest.raises(StoreError):
        Store(str(garbage), "host")
    assert garbage.read_text().startswith("this is not")


def modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_an_sqlite_store_needs_no_postgresql_driver_and_leaves_peewee_as_it_is(tmp_path: Path) -> None:
    code = f"from lfgpods.store.store import Store\nStore({str(tmp_path / 'lfgpods.db')!r}, 'host')"
    assert "lfgpods.store.postgresql" not in modules_after(code)
    assert "peewee" in modules_after(f"import sys; sys.modules['psycopg'] = sys.modules['psycopg2'] = None\n{code}")
    after = modules_after(f"{code}\nimport peewee\nassert peewee.psycopg, 'it was made unusable for others'")
    assert {"peewee", "psycopg"} <= after


def test_many_threads_open_a_new_file_at_the_same_moment(tmp_path: Path) -> None:
    ready = threading.Barrier(8)

    def open_each(_: int) -> None:
        for number in range(30):
            ready.wait(20)
            Store(str(tmp_path / f"{number}.db"), "host").close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(open_each, range(8)))
