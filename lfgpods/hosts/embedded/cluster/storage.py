"""The SQLite file with an embedded host's objects. Safe for many processes: a transaction holds the write lock."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lfgpods.core.errors import HostError
from lfgpods.hosts.embedded.cluster.faults import Faults
from lfgpods.hosts.embedded.cluster.kinds import kind_named
from lfgpods.hosts.embedded.cluster.objects import Objects, Record

BUSY_TIMEOUT = 30
SCHEMA = 1

_TABLES = (
    """CREATE TABLE IF NOT EXISTS objects (
        kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, object TEXT NOT NULL, private TEXT NOT NULL,
        PRIMARY KEY (kind, namespace, name)
    )""",
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)


class Storage:
    """The objects of the embedded host in FOLDER. Creates the folder with mode 0700 if it is missing."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "objects.db"
        with self._host_errors():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):  # opening and closing a file in use would drop this process's locks
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            with _folder_lock(folder), self._connection() as database:
                database.execute("PRAGMA journal_mode = wal")
                with _immediate(database):
                    for statement in _TABLES:
                        database.execute(statement)
                    self._check_schema(database)

    @contextmanager
    def transaction(self) -> Iterator[Objects]:
        """All objects, under the write lock. Saves the changes at the end, unless an exception is raised."""
        with self._host_errors(), self._connection() as database, _immediate(database):
            faults, version = _fact(database, "faults"), _fact(database, "version")
            objects = Objects(_records(database), version or 1, time.time(), Faults(**(faults or {})))
            before = objects.version
            yield objects
            _save(database, objects)
            if objects.version != before:
                _set_fact(database, "version", objects.version)

    def faults(self) -> Faults:
        with self._host_errors(), self._connection() as database:
            return Faults(**(_fact(database, "faults") or {}))

    def set_faults(self, faults: Faults) -> None:
        with self._host_errors(), self._connection() as database:
            _set_fact(database, "faults", asdict(faults))

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=BUSY_TIMEOUT, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = normal")
            yield database

    def _check_schema(self, database: sqlite3.Connection) -> None:
        schema = _fact(database, "schema")
        if schema is None:
            _set_fact(database, "schema", SCHEMA)
        elif schema != SCHEMA:
            raise HostError(
                f"the embedded host in {self._path.parent} was made by another version of lfgpods",
                "Set LFGPODS_EMBEDDED_FOLDER to a new folder; the volumes in the old one stay.",
            )

    @contextmanager
    def _host_errors(self) -> Iterator[None]:
        """Raises HostError for what SQLite and the operating system raise."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if isinstance(error, HostError):
                raise
            raise HostError(
                f"the embedded host's file {self._path} cannot be used: {' '.join(str(error).split())}",
                "Check that its folder is writable and its disk not full, or set LFGPODS_EMBEDDED_FOLDER to another.",
            ) from error


@contextmanager
def _immediate(database: sqlite3.Connection) -> Iterator[None]:
    """A transaction that takes the write lock at its start."""
    database.execute("BEGIN IMMEDIATE")
    with database:  # commits, or rolls back after an exception
        yield


def _records(database: sqlite3.Connection) -> list[Record]:
    found = []
    for name, obj, private in database.execute("SELECT kind, object, private FROM objects"):
        kind = kind_named(name)
        if kind is not None:
            found.append(Record(kind, json.loads(obj), json.loads(private), obj, private))
    return found


def _save(database: sqlite3.Connection, objects: Objects) -> None:
    """Write what was changed and removed."""
    for record in objects.removed:
        if objects.find(record.kind, record.namespace, record.name) is None:
            database.execute("DELETE FROM objects WHERE kind = ? AND namespace = ? AND name = ?", record.key)
    for record in objects:
        objects.new_version(record)
        private = json.dumps(record.private, sort_keys=True)
        if record.dirty or private != record.saved_private:
            row = (*record.key, record.saved, private)
            database.execute(
                "REPLACE INTO objects (kind, namespace, name, object, private) VALUES (?, ?, ?, ?, ?)", row
            )


def _fact(database: sqlite3.Connection, name: str) -> Any:
    row = database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return json.loads(row[0]) if row else None


def _set_fact(database: sqlite3.Connection, name: str, value: Any) -> None:
    database.execute("REPLACE INTO facts (name, value) VALUES (?, ?)", (name, json.dumps(value)))


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    """One process at a time. SQLite's busy timeout does not cover the switch of a new file to a write-ahead log."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
