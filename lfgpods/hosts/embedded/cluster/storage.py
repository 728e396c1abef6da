"""The SQLite file in which an embedded host keeps its objects.

Safe for many processes at once: whoever looks at the world or changes it holds the write lock for that moment.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lfgpods.core.errors import HostError
from lfgpods.core.orm import peewee
from lfgpods.hosts.embedded.cluster.faults import Faults
from lfgpods.hosts.embedded.cluster.kinds import kind_named
from lfgpods.hosts.embedded.cluster.objects import Record, World

BUSY_TIMEOUT = 30
SCHEMA = 1

_TABLES = (
    """CREATE TABLE IF NOT EXISTS objects (
        kind TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL, object TEXT NOT NULL, private TEXT NOT NULL,
        PRIMARY KEY (kind, namespace, name)
    )""",
    "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
)


class _ObjectRow(peewee.Model):
    kind = peewee.TextField()
    namespace = peewee.TextField()
    name = peewee.TextField()
    object = peewee.TextField()
    private = peewee.TextField()

    class Meta:
        table_name = "objects"
        primary_key = peewee.CompositeKey("kind", "namespace", "name")


class _FactRow(peewee.Model):
    name = peewee.TextField(primary_key=True)
    value = peewee.TextField()

    class Meta:
        table_name = "facts"


class Storage:
    """The objects of the embedded host in FOLDER, which is made, for its owner only, if it is missing."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "objects.db"
        self._database = peewee.SqliteDatabase(
            str(self._path),
            timeout=BUSY_TIMEOUT,
            lock_type="IMMEDIATE",
            pragmas={"journal_mode": "wal", "synchronous": "normal"},
        )
        with self._reported():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with suppress(FileExistsError):  # to open and close one that is in use would drop this process's locks
                os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            with _alone_in(folder), self._database.connection_context(), self._database.atomic():
                for statement in _TABLES:
                    self._database.execute_sql(statement)  # type: ignore[no-untyped-call]
                self._check_schema()

    @contextmanager
    def open_world(self) -> Iterator[World]:
        """The world under the write lock; what was changed in it is written at the end, unless an exception ends it."""
        with self._reported(), self._database.connection_context(), self._database.atomic():
            faults = self._fact("faults")
            world = World(self._records(), self._fact("version") or 1, time.time(), Faults(**(faults or {})))
            before = world.version
            yield world
            self._write(world)
            if world.version != before:
                self._set_fact("version", world.version)

    def faults(self) -> Faults:
        with self._reported(), self._database.connection_context():
            return Faults(**(self._fact("faults") or {}))

    def set_faults(self, faults: Faults) -> None:
        with self._reported(), self._database.connection_context(), self._database.atomic():
            self._set_fact("faults", asdict(faults))

    def _records(self) -> list[Record]:
        found = []
        for row in _ObjectRow.select().dicts().execute(self._database):
            kind = kind_named(row["kind"])
            if kind is not None:
                obj, private = json.loads(row["object"]), json.loads(row["private"])
                found.append(Record(kind, obj, private, row["object"], row["private"]))
        return found

    def _write(self, world: World) -> None:
        for record in world.removed:
            if world.find(record.kind, record.namespace, record.name) is None:
                kind, namespace, name = record.key
                same = (_ObjectRow.kind == kind) & (_ObjectRow.namespace == namespace) & (_ObjectRow.name == name)
                _ObjectRow.delete().where(same).execute(self._database)
        for record in world:
            world.version_of(record)
            private = json.dumps(record.private, sort_keys=True)
            if record.dirty or private != record.saved_private:
                kind, namespace, name = record.key
                row = {"kind": kind, "namespace": namespace, "name": name, "object": record.saved, "private": private}
                _ObjectRow.insert(**row).on_conflict_replace().execute(self._database)

    def _check_schema(self) -> None:
        schema = self._fact("schema")
        if schema is None:
            self._set_fact("schema", SCHEMA)
        elif schema != SCHEMA:
            raise HostError(
                f"the embedded host in {self._path.parent} was made by another version of lfgpods",
                "Set LFGPODS_EMBEDDED_FOLDER to a new folder; the volumes in the old one stay.",
            )

    def _fact(self, name: str) -> Any:
        rows = _FactRow.select(_FactRow.value).where(_FactRow.name == name).tuples().execute(self._database)
        return next((json.loads(value) for (value,) in rows), None)

    def _set_fact(self, name: str, value: Any) -> None:
        _FactRow.insert(name=name, value=json.dumps(value)).on_conflict_replace().execute(self._database)

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (peewee.PeeweeException, OSError) as error:
            if isinstance(error, HostError):
                raise
            raise HostError(
                f"the embedded host's file {self._path} cannot be used: {' '.join(str(error).split())}",
                "Check that its folder is writable and its disk not full, or set LFGPODS_EMBEDDED_FOLDER to another.",
            ) from error


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """One caller at a time: nobody waits for the first, who makes a new file one with a write-ahead log."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
