"""Copy a whole database, with the rows of every host, to another database of either kind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import peewee

from lfgpods.core.errors import StoreError, UsageError
from lfgpods.core.settings import is_postgresql
from lfgpods.store.databases import open_engine
from lfgpods.store.engine import Engine
from lfgpods.store.schema import ChangeRow, PodRow

_BATCH = 500
_MODELS: tuple[type[peewee.Model], ...] = (PodRow, ChangeRow)


@dataclass(frozen=True)
class Copied:
    """How much was copied and verified."""

    source: str
    target: str
    hosts: int
    pods: int
    events: int

    def as_dict(self) -> dict[str, Any]:
        """The fields of the JSON and YAML output; their names are stable."""
        return {
            "source": self.source, "target": self.target, "hosts": self.hosts, "pods": self.pods, "events": self.events,
        }  # fmt: skip


def copy(source: str, target: str) -> Copied:
    """Copy every pod and change from SOURCE to TARGET, which must be empty. Both are paths or PostgreSQL URLs.

    Copies everything, and compares it row by row, or nothing. Changes keep their ids. Locks both databases against
    other writers. Raises StoreError, and UsageError if the two are the same database.
    """
    if not is_postgresql(source) and not os.path.isfile(source):
        raise StoreError(
            f"the database {source} does not exist", "Give the file that LFGPODS_DATABASE has named so far."
        )
    if os.path.realpath(source) == os.path.realpath(target):
        raise UsageError("a database cannot be copied to itself", "Give another database as the target.")
    from_engine = open_engine(source)
    try:
        to_engine = open_engine(target)
        try:
            with from_engine.reported():
                return from_engine.transaction(lambda: _copy(from_engine, to_engine))
        finally:
            to_engine.close()
    finally:
        from_engine.close()


def _copy(source: Engine, target: Engine) -> Copied:
    source.lock_rows()

    def fill() -> Copied:
        target.lock_rows()
        if any(batch for model in _MODELS for batch in _batches(target, model)):
            raise StoreError(
                f"the database {target.name} is not empty",
                "Nothing was changed. Give a new file, or a PostgreSQL database without pods and changes.",
                code="store_not_empty",
            )
        counts = {model: _copy_rows(source, target, model) for model in _MODELS}
        hosts: set[str] = set()
        for model in _MODELS:
            hosts |= _compared(source, target, model)
        return Copied(source.name, target.name, len(hosts), counts[PodRow], counts[ChangeRow])

    with target.reported():
        return target.transaction(fill, repeatable=False)


def _copy_rows(source: Engine, target: Engine, model: type[peewee.Model]) -> int:
    """Copy every row. Returns how many there were."""
    count = 0
    for batch in _batches(source, model):
        model.insert_many(batch, fields=_fields(model)).execute(target.database)
        count += len(batch)
        if model is ChangeRow:
            target.continue_after(batch[-1][0])
    return count


def _compared(source: Engine, target: Engine, model: type[peewee.Model]) -> set[str]:
    """The hosts in the rows. Raises StoreError if SOURCE and TARGET differ."""
    hosts: set[str] = set()
    column = _names(model).index("host")
    for source_rows, target_rows in itertools.zip_longest(_batches(source, model), _batches(target, model)):
        if source_rows != target_rows:
            raise StoreError(
                f"the copy in the database {target.name} differs from {source.name}", "Nothing was copied. Try again."
            )
        hosts.update(row[column] for row in source_rows)
    return hosts


def _batches(engine: Engine, model: type[peewee.Model]) -> Iterator[list[tuple[Any, ...]]]:
    """All rows in the order of their primary key, in batches."""
    names = _names(model)
    keys = list(model._meta.get_primary_keys())  # type: ignore[no-untyped-call]
    after = None
    while True:
        query = model.select(*_fields(model)).order_by(*keys).limit(_BATCH)
        if after is not None:
            query = query.where(peewee.Tuple(*keys) > peewee.Tuple(*after))
        with engine.reported():
            rows = list(query.tuples().execute(engine.database))
        if not rows:
            return
        yield rows
        after = [rows[-1][names.index(key.name)] for key in keys]


def _fields(model: type[peewee.Model]) -> list[peewee.Field]:
    return list(model._meta.sorted_fields)


def _names(model: type[peewee.Model]) -> list[str]:
    return [field.name for field in _fields(model)]
