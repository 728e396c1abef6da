"""All that one database remembers, of every host, copied to another one of whatever kind."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import peewee

from lfgpods.core.errors import StoreError, UsageError
from lfgpods.core.settings import is_postgresql
from lfgpods.store import open_engine
from lfgpods.store.engine import Engine
from lfgpods.store.schema import EventRow, PodRow

_BATCH = 500
_MODELS: tuple[type[peewee.Model], ...] = (PodRow, EventRow)


@dataclass(frozen=True)
class Copied:
    """What was copied, and found in the target as it is in the source."""

    source: str
    target: str
    hosts: int
    pods: int
    events: int

    def as_dict(self) -> dict[str, Any]:
        """The copy for JSON and YAML; the names are stable."""
        return {
            "source": self.source, "target": self.target, "hosts": self.hosts, "pods": self.pods, "events": self.events,
        }  # fmt: skip


def copy(source: str, target: str) -> Copied:
    """Copy every pod and event of SOURCE to TARGET, which has to be empty; both are paths or PostgreSQL URLs.

    All of it is there afterwards, compared row by row, or nothing. Events keep their numbers. Nobody else can write
    to either database meanwhile. Raises StoreError, and UsageError where the two are one.
    """
    if not is_postgresql(source) and not os.path.isfile(source):
        raise StoreError(f"there is no database {source}", "Name the file that LFGPODS_DATABASE has named so far.")
    if os.path.realpath(source) == os.path.realpath(target):
        raise UsageError("a database cannot be copied to itself", "Name another one as the target.")
    given = open_engine(source)
    try:
        taken = open_engine(target)
        try:
            with given.reported():
                return given.transaction(lambda: _copy(given, taken))
        finally:
            taken.close()
    finally:
        given.close()


def _copy(source: Engine, target: Engine) -> Copied:
    source.lock_rows()

    def fill() -> Copied:
        target.lock_rows()
        if any(batch for model in _MODELS for batch in _batches(target, model)):
            raise StoreError(
                f"the database {target.name} is not empty",
                "Nothing was changed. Name a new file, or a PostgreSQL database without pods and events.",
                code="store_not_empty",
            )
        counts = {model: _copy_rows(source, target, model) for model in _MODELS}
        hosts: set[str] = set()
        for model in _MODELS:
            hosts |= _compared(source, target, model)
        return Copied(source.name, target.name, len(hosts), counts[PodRow], counts[EventRow])

    with target.reported():
        return target.transaction(fill, repeatable=False)


def _copy_rows(source: Engine, target: Engine, model: type[peewee.Model]) -> int:
    """Insert every row; how many there were."""
    count = 0
    for batch in _batches(source, model):
        model.insert_many(batch, fields=_fields(model)).execute(target.database)
        count += len(batch)
        if model is EventRow:
            target.continue_after(batch[-1][0])
    return count


def _compared(source: Engine, target: Engine, model: type[peewee.Model]) -> set[str]:
    """The hosts of the rows. Raises StoreError where SOURCE and TARGET differ."""
    hosts: set[str] = set()
    place = _names(model).index("host")
    for given, taken in itertools.zip_longest(_batches(source, model), _batches(target, model)):
        if given != taken:
            raise StoreError(
                f"the copy in the database {target.name} differs from {source.name}", "Nothing was copied. Try again."
            )
        hosts.update(row[place] for row in given)
    return hosts


def _batches(engine: Engine, model: type[peewee.Model]) -> Iterator[list[tuple[Any, ...]]]:
    """All rows, by their primary key, not too many at once."""
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
