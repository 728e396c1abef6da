"""SQLite. One process writes at a time; the others wait."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import peewee

from lfgpods.store.engine import Engine, Pooled

BUSY_TIMEOUT = 30
"""How long to wait for other writers, in seconds."""


class SqliteEngine(Engine):
    """The database in the file PATH. Creates a missing file with mode 0600."""

    types: ClassVar = {"text": "TEXT", "real": "REAL", "id": "INTEGER PRIMARY KEY AUTOINCREMENT"}
    remedy = "Check that its folder is writable and its disk not full, or set LFGPODS_DATABASE to another file."

    def __init__(self, path: str) -> None:
        database = _Database(
            path,
            timeout=BUSY_TIMEOUT,
            lock_type="IMMEDIATE",
            pragmas={"journal_mode": "wal", "foreign_keys": 1, "synchronous": "normal"},
            check_same_thread=False,  # threads take turns with a connection
        )
        super().__init__(path, database)

    def prepare(self) -> None:
        path = Path(self.name)
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):  # closing an existing file would drop the locks that this process has on it
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))

    def is_busy(self, error: Exception) -> bool:
        """The first connection switches a new file to WAL mode; SQLite does not wait for that, whatever the timeout."""
        return "database is locked" in str(error)

    def lock_schema(self) -> None:
        """Nothing to do: a transaction is the only writer from its beginning (BEGIN IMMEDIATE)."""

    lock_pods = lock_rows = lock_schema

    def continue_after(self, id: int) -> None:
        """Nothing to do: AUTOINCREMENT never reuses an id."""


class _Database(Pooled, peewee.SqliteDatabase):
    def is_usable(self, connection: Any) -> bool:
        return not connection.in_transaction
