"""The store in an SQLite file. One process writes at a time; the others wait for it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import peewee

from lfgpods.store.engine import Engine, Pooled

BUSY_TIMEOUT = 30
"""Seconds to wait for others that write."""


class SqliteEngine(Engine):
    """The database in the file PATH, which is made, readable by its owner only, if it is missing."""

    types: ClassVar = {"text": "TEXT", "real": "REAL", "id": "INTEGER PRIMARY KEY AUTOINCREMENT"}
    remedy = "Check that its folder is writable and its disk not full, or set LFGPODS_DATABASE to another file."

    def __init__(self, path: str) -> None:
        database = _Database(
            path,
            timeout=BUSY_TIMEOUT,
            lock_type="IMMEDIATE",
            pragmas={"journal_mode": "wal", "foreign_keys": 1, "synchronous": "normal"},
            check_same_thread=False,  # threads use a connection one after another
        )
        super().__init__(path, database)

    def prepare(self) -> None:
        path = Path(self.name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # to open and close one that is in use would drop this process's locks on it
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))

    def is_taken(self, error: Exception) -> bool:
        """The first of all connections makes a new file one with a write-ahead log, and nobody waits for that."""
        return "database is locked" in str(error)

    def lock_schema(self) -> None:
        """A transaction is the only one that writes, from its beginning."""

    take_turns = lock_rows = lock_schema

    def continue_after(self, event: int) -> None:
        """AUTOINCREMENT never goes back."""


class _Database(Pooled, peewee.SqliteDatabase):
    def is_usable(self, connection: Any) -> bool:
        return not connection.in_transaction
