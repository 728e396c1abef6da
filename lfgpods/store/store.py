"""What lfgpods remembers of one host: a row for each pod, and a row for each change.

Safe for many processes and threads at once. No transaction stays open while lfgpods waits for anything else.
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
from lfgpods.core.text import one_line
from lfgpods.store.databases import open_engine
from lfgpods.store.rows import change_of, pod_of, row_of
from lfgpods.store.schema import ChangeRow, PodRow, now

MAX_CHANGES = 10_000
"""How many changes of a host are kept, at least; the oldest are removed."""
PRUNE_INTERVAL = 101
"""Old changes are removed when this divides the id of a new one. A prime, so that alternating hosts reach it too."""
BATCH = 60
"""Rows in one statement. An old SQLite takes at most 999 values."""
_KEY = ("host", "owner_kind", "owner_id")


class Store:
    """The pods and changes of HOST in DATABASE, a path or a PostgreSQL URL. Creates a missing file.

    Every method raises StoreError if the database cannot be used.
    """

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
        """The pod of OWNER as it was last seen, or None."""
        return next(iter(self._pods(PodRow.select().where(self._is(owner)))), None)

    def running_pod(self, owner: Owner) -> str | None:
        """The name of OWNER's pod, if the pod was running when last seen. Every command asks for it."""
        values = (self._host, owner.kind.value, owner.id, State.RUNNING.value)
        with self._reported():
            row = self._engine.run(lambda: self._engine.execute(self._running_pod_of, values).fetchone())
        return row[0] if row else None

    @cached_property
    def _running_pod_of(self) -> str:
        """Cached: building this SQL takes peewee ten times longer than running it."""
        is_it = (PodRow.host == "") & (PodRow.owner_kind == "") & (PodRow.owner_id == "") & (PodRow.status == "")
        return str(PodRow.select(PodRow.pod_name).where(is_it).bind(self._database).sql()[0])

    def all(self) -> list[Pod]:
        """Every pod of the host, sorted by namespace."""
        return self._pods(PodRow.select().where(PodRow.host == self._host).order_by(PodRow.namespace))

    def has_volumes_in(self, volume_root: str) -> bool:
        """Whether a pod that exists, or existed, has its volume folder in VOLUME_ROOT."""
        made = PodRow.status.in_([State.RUNNING.value, State.STOPPED.value, State.DELETED.value])
        inside = (PodRow.volume >= f"{volume_root}/") & (PodRow.volume < f"{volume_root}{_AFTER_SLASH}")
        found = PodRow.select(PodRow.host).where((PodRow.host == self._host) & made & inside).limit(1)
        with self._reported():
            return bool(self._engine.run(lambda: list(found.tuples().execute(self._database))))

    def remember(self, *pods: Pod) -> None:
        """Save the state of PODS. Keeps the recorded time of their last use if they have none."""
        rows = list({pod.owner: row_of(pod, self._host, now()) for pod in pods}.values())
        changes = {name: peewee.EXCLUDED[name] for name in next(iter(rows), {}) if name not in _KEY}
        changes["last_used_at"] = peewee.fn.COALESCE(peewee.EXCLUDED["last_used_at"], PodRow.last_used_at)

        def write() -> None:
            self._engine.lock_pods()
            for batch in peewee.chunked(rows, BATCH):
                insert = PodRow.insert_many(batch).on_conflict(conflict_target=_KEY, update=changes)
                insert.execute(self._database)

        if rows:
            with self._reported():
                self._engine.transaction(write)

    def touch(self, owner: Owner) -> None:
        """Record that the pod is in use now."""
        query = PodRow.update(last_used_at=now()).where(self._is(owner))
        with self._reported():
            self._engine.run(lambda: query.execute(self._database))

    def forget(self, owners: Iterable[Owner]) -> None:
        """Delete the pod rows of OWNERS. Changes stay."""
        ids: dict[OwnerKind, list[str]] = {}
        for owner in owners:
            ids.setdefault(owner.kind, []).append(owner.id)

        def write() -> None:
            self._engine.lock_pods()
            for kind, every in ids.items():
                mine = (PodRow.host == self._host) & (PodRow.owner_kind == kind.value)
                for batch in peewee.chunked(every, BATCH):
                    PodRow.delete().where(mine & PodRow.owner_id.in_(batch)).execute(self._database)

        if ids:
            with self._reported():
                self._engine.transaction(write)

    def begin(self, action: Action, owner: Owner | None, detail: str = "") -> int:
        """Record that ACTION begins now. Returns the id to pass to `finish`.

        The record is on disk when this returns, so it survives if the process is killed. OWNER is None for an action
        on all owners.
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
            number = int(ChangeRow.insert(**values).execute(self._database))
            if number % PRUNE_INTERVAL == 0:
                self._prune_changes()
            return number

        with self._reported():
            number = self._engine.transaction(write, repeatable=False)
        self._began[number] = time.monotonic()
        return number

    def finish(self, change: int, error: str = "", *, interrupted: bool = False) -> None:
        """Record how CHANGE ended: done, failed with ERROR, or interrupted. Keeps an outcome that is already there."""
        began = self._began.pop(change, None)
        outcome = Outcome.INTERRUPTED if interrupted else Outcome.FAILED if error else Outcome.DONE
        values = {
            "outcome": outcome.value,
            "error": one_line(error),
            "duration": None if began is None else round(time.monotonic() - began, 3),
        }
        query = ChangeRow.update(**values).where((ChangeRow.id == change) & ChangeRow.outcome.is_null())
        with self._reported():
            self._engine.run(lambda: query.execute(self._database))

    def changes(self, owner: Owner | None = None, limit: int = 20) -> list[Change]:
        """The last LIMIT changes of OWNER, or of the whole host, newest first."""
        whose = _is_of(self._host, owner) if owner else ChangeRow.host == self._host
        return self._changes(whose, limit)

    def unfinished(self, owner: Owner | None) -> list[Change]:
        """The changes of OWNER without a recorded outcome, newest first: those still running, and those interrupted."""
        return self._changes(_is_of(self._host, owner) & ChangeRow.outcome.is_null(), MAX_CHANGES)

    def _pods(self, query: Any) -> list[Pod]:
        with self._reported():
            return [pod_of(row) for row in self._engine.run(lambda: list(query.dicts().execute(self._database)))]

    def _changes(self, condition: Any, limit: int) -> list[Change]:
        query = ChangeRow.select().where(condition).order_by(ChangeRow.id.desc()).limit(limit)
        with self._reported():
            return [change_of(row) for row in self._engine.run(lambda: list(query.dicts().execute(self._database)))]

    def _prune_changes(self) -> None:
        mine = ChangeRow.host == self._host
        newest = ChangeRow.select(ChangeRow.id).where(mine).order_by(ChangeRow.id.desc())
        last = newest.limit(1).offset(MAX_CHANGES)
        ChangeRow.delete().where(mine & (ChangeRow.id <= last)).execute(self._database)

    def _is(self, owner: Owner) -> Any:
        return (PodRow.host == self._host) & (PodRow.owner_kind == owner.kind.value) & (PodRow.owner_id == owner.id)


_AFTER_SLASH = chr(ord("/") + 1)
"""Sorts right after every path below a folder."""


def _now_exactly() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _is_of(host: str, owner: Owner | None) -> Any:
    kind, id = (owner.kind.value, owner.id) if owner else (None, None)
    return (ChangeRow.host == host) & (ChangeRow.owner_kind == kind) & (ChangeRow.owner_id == id)
