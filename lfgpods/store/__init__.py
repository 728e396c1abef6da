"""What lfgpods remembers: a row for each pod, which the cluster can correct and rebuild, and one for each change that
was made, which is the record. In an SQLite file, or in a PostgreSQL database.

Safe for many processes and threads at once; no transaction is open while anything else is waited for. No row holds a
secret.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import peewee

from lfgpods.core import processes
from lfgpods.core.changes import Action, Change, Outcome
from lfgpods.core.owners import Owner, OwnerKind
from lfgpods.core.pod import Pod, State
from lfgpods.core.settings import is_postgresql
from lfgpods.core.text import one_line
from lfgpods.store.engine import Engine
from lfgpods.store.rows import event_of, pod_of, row_of
from lfgpods.store.schema import EventRow, PodRow, migrate, now

EVENTS_KEPT = 10_000
"""Of each host, the newest."""
PRUNED_EVERY = 101
"""Older ones are removed with each event whose number this divides: a prime, so that hosts that take turns meet it."""
BATCH = 60
"""Rows in one statement, which in an old SQLite may have 999 values."""
_KEY = ("host", "owner_kind", "owner_id")


def open_engine(database: str) -> Engine:
    """The DATABASE, a path or a PostgreSQL URL, up to date. Raises StoreError, and SettingsError for a wrong URL."""
    if is_postgresql(database):
        from lfgpods.store.postgresql import PostgresqlEngine

        engine: Engine = PostgresqlEngine(database)
    else:
        from lfgpods.store.sqlite import SqliteEngine

        engine = SqliteEngine(database)
    try:
        with engine.reported():
            engine.prepare()
            migrate(engine)
    except BaseException:
        engine.close()
        raise
    return engine


class Store:
    """The pods of one HOST in DATABASE, a path or a PostgreSQL URL; a file that is missing is made."""

    def __init__(self, database: str, host: str) -> None:
        self._host = host
        self._began: dict[int, float] = {}
        self._engine = open_engine(database)
        self._database = self._engine.database
        self._reported = self._engine.reported

    def close(self) -> None:
        """Close the connections of all threads."""
        self._engine.close()

    def find(self, owner: Owner) -> Pod | None:
        return next(iter(self._pods(PodRow.select().where(self._is(owner)))), None)

    def running_pod(self, owner: Owner) -> str | None:
        """The name of OWNER's pod, if it ran when it was last seen. Every command asks for it."""
        values = (self._host, owner.kind.value, owner.id, State.RUNNING.value)
        with self._reported():
            row = self._engine.run(lambda: self._engine.execute(self._running_pod_of, values).fetchone())
        return row[0] if row else None

    @cached_property
    def _running_pod_of(self) -> str:
        """SQL, which to build takes peewee ten times as long as to execute takes the database."""
        is_it = (PodRow.host == "") & (PodRow.owner_kind == "") & (PodRow.owner_id == "") & (PodRow.status == "")
        return str(PodRow.select(PodRow.pod_name).where(is_it).bind(self._database).sql()[0])

    def all(self) -> list[Pod]:
        """Every pod of the host, by namespace."""
        return self._pods(PodRow.select().where(PodRow.host == self._host).order_by(PodRow.namespace))

    def has_volumes_in(self, volume_root: str) -> bool:
        """Whether a pod that was made is remembered whose volume folder is in VOLUME_ROOT."""
        made = PodRow.status.in_([State.RUNNING.value, State.STOPPED.value, State.DELETED.value])
        inside = (PodRow.volume >= f"{volume_root}/") & (PodRow.volume < f"{volume_root}{_AFTER_SLASH}")
        found = PodRow.select(PodRow.host).where((PodRow.host == self._host) & made & inside).limit(1)
        with self._reported():
            return bool(self._engine.run(lambda: list(found.tuples().execute(self._database))))

    def remember(self, *pods: Pod) -> None:
        """Write down what is known of PODS now; the time of their last use stays."""
        rows = list({pod.owner: row_of(pod, self._host, now()) for pod in pods}.values())
        changes = {name: peewee.EXCLUDED[name] for name in next(iter(rows), {}) if name not in _KEY}
        changes["last_used_at"] = peewee.fn.COALESCE(peewee.EXCLUDED["last_used_at"], PodRow.last_used_at)

        def write() -> None:
            self._engine.take_turns()
            for batch in peewee.chunked(rows, BATCH):
                insert = PodRow.insert_many(batch).on_conflict(conflict_target=_KEY, update=changes)
                insert.execute(self._database)

        if rows:
            with self._reported():
                self._engine.transaction(write)

    def touch(self, owner: Owner) -> None:
        """Note that the pod is being used now."""
        query = PodRow.update(last_used_at=now()).where(self._is(owner))
        with self._reported():
            self._engine.run(lambda: query.execute(self._database))

    def forget(self, owners: Iterable[Owner]) -> None:
        ids: dict[OwnerKind, list[str]] = {}
        for owner in owners:
            ids.setdefault(owner.kind, []).append(owner.id)

        def write() -> None:
            self._engine.take_turns()
            for kind, every in ids.items():
                mine = (PodRow.host == self._host) & (PodRow.owner_kind == kind.value)
                for batch in peewee.chunked(every, BATCH):
                    PodRow.delete().where(mine & PodRow.owner_id.in_(batch)).execute(self._database)

        if ids:
            with self._reported():
                self._engine.transaction(write)

    def begin(self, action: Action, owner: Owner | None, detail: str = "") -> int:
        """Write down that ACTION is going to be done now; the number by which to `finish` it.

        It is written when this returns, and stays when the process is killed. Without OWNER it concerns all of them.
        """
        values = {
            "host": self._host,
            "owner_kind": owner.kind.value if owner else None,
            "owner_id": owner.id if owner else None,
            "action": action.value,
            "who": processes.user(),
            "origin": one_line(f"{processes.program()} on {platform.node()}"),
            "process": processes.this_process(),
            "detail": one_line(detail),
            "started_at": _now_exactly(),
            "error": "",
        }

        def write() -> int:
            number = int(EventRow.insert(**values).execute(self._database))
            if number % PRUNED_EVERY == 0:
                self._forget_old_events()
            return number

        with self._reported():
            number = self._engine.transaction(write, repeatable=False)
        self._began[number] = time.monotonic()
        return number

    def finish(self, event: int, error: str = "", *, interrupted: bool = False) -> None:
        """Write down how EVENT ended: done, or failed with ERROR, or interrupted. The first outcome stays."""
        began = self._began.pop(event, None)
        outcome = Outcome.INTERRUPTED if interrupted else Outcome.FAILED if error else Outcome.DONE
        values = {
            "outcome": outcome.value,
            "error": one_line(error),
            "duration": None if began is None else round(time.monotonic() - began, 3),
        }
        query = EventRow.update(**values).where((EventRow.id == event) & EventRow.outcome.is_null())
        with self._reported():
            self._engine.run(lambda: query.execute(self._database))

    def events(self, owner: Owner | None = None, limit: int = 20) -> list[Change]:
        """The last LIMIT changes, newest first; of OWNER, or of the whole host."""
        whose = _event_of(self._host, owner) if owner else EventRow.host == self._host
        return self._events(whose, limit)

    def unfinished(self, owner: Owner | None) -> list[Change]:
        """The changes that have no outcome, newest first: those that run, and those whose process is gone."""
        return self._events(_event_of(self._host, owner) & EventRow.outcome.is_null(), EVENTS_KEPT)

    def _pods(self, query: Any) -> list[Pod]:
        with self._reported():
            return [pod_of(row) for row in self._engine.run(lambda: list(query.dicts().execute(self._database)))]

    def _events(self, condition: Any, limit: int) -> list[Change]:
        query = EventRow.select().where(condition).order_by(EventRow.id.desc()).limit(limit)
        with self._reported():
            return [event_of(row) for row in self._engine.run(lambda: list(query.dicts().execute(self._database)))]

    def _forget_old_events(self) -> None:
        mine = EventRow.host == self._host
        newest = EventRow.select(EventRow.id).where(mine).order_by(EventRow.id.desc())
        last = newest.limit(1).offset(EVENTS_KEPT)
        EventRow.delete().where(mine & (EventRow.id <= last)).execute(self._database)

    def _is(self, owner: Owner) -> Any:
        return (PodRow.host == self._host) & (PodRow.owner_kind == owner.kind.value) & (PodRow.owner_id == owner.id)


_AFTER_SLASH = chr(ord("/") + 1)


def _now_exactly() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _event_of(host: str, owner: Owner | None) -> Any:
    kind, id = (owner.kind.value, owner.id) if owner else (None, None)
    return (EventRow.host == host) & (EventRow.owner_kind == kind) & (EventRow.owner_id == id)
