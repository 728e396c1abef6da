"""What lfgpods remembers, in SQLite: a row for each pod, which the cluster can correct and rebuild, and one for each
change that was made, which is the record.

The only importer of peewee. Safe for many processes at once; no transaction is open while anything else is
waited for. No row holds a secret.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import peewee

from lfgpods import processes
from lfgpods.errors import StoreError
from lfgpods.events import Action, Event, Outcome
from lfgpods.naming import Owner, OwnerKind
from lfgpods.pod import Pod, ServicePort
from lfgpods.spec import PodSpec
from lfgpods.state import State
from lfgpods.text import one_line

BUSY_TIMEOUT = 30
EVENTS_KEPT = 10_000
"""Of each host, the newest."""
PATIENCE = 3600
"""Seconds for which a change without an outcome counts as running, where its process cannot be asked for."""


def _sql(database: peewee.Database, statement: str) -> None:
    database.execute_sql(statement)  # type: ignore[no-untyped-call]


def _create_pods(database: peewee.Database) -> None:
    _sql(
        database,
        """
        CREATE TABLE pods (
            host TEXT NOT NULL,
            owner_kind TEXT NOT NULL,
            owner_id TEXT NOT NULL,
            namespace TEXT NOT NULL,
            conversation_id TEXT,
            pod_name TEXT,
            status TEXT NOT NULL,
            reason TEXT NOT NULL,
            spec TEXT NOT NULL,
            volume TEXT NOT NULL,
            service TEXT NOT NULL,
            created_at TEXT,
            started_at TEXT,
            last_used_at TEXT,
            updated_at TEXT NOT NULL,
            PRIMARY KEY (host, owner_kind, owner_id),
            UNIQUE (host, namespace)
        )
        """,
    )


def _create_events(database: peewee.Database) -> None:
    _sql(
        database,
        """
        CREATE TABLE events (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            host TEXT NOT NULL,
            owner_kind TEXT,
            owner_id TEXT,
            action TEXT NOT NULL,
            who TEXT NOT NULL,
            origin TEXT NOT NULL,
            process TEXT NOT NULL,
            detail TEXT NOT NULL,
            started_at TEXT NOT NULL,
            duration REAL,
            outcome TEXT,
            error TEXT NOT NULL
        )
        """,
    )
    _sql(database, "CREATE INDEX events_of_host ON events (host, id)")
    _sql(database, "CREATE INDEX events_of_owner ON events (host, owner_kind, owner_id, id)")
    _sql(
        database,
        "CREATE INDEX unfinished_events ON events (host, owner_kind, owner_id, id) WHERE outcome IS NULL",
    )


MIGRATIONS: tuple[Callable[[peewee.Database], None], ...] = (_create_pods, _create_events)
"""Applied in their order, each once; the schema's version is their number. Never edited, only added to."""


class PodRow(peewee.Model):
    host = peewee.TextField()
    owner_kind = peewee.TextField()
    owner_id = peewee.TextField()
    namespace = peewee.TextField()
    conversation_id = peewee.TextField(null=True)
    pod_name = peewee.TextField(null=True)
    status = peewee.TextField()
    reason = peewee.TextField()
    spec = peewee.TextField()
    volume = peewee.TextField()
    service = peewee.TextField()
    created_at = peewee.TextField(null=True)
    started_at = peewee.TextField(null=True)
    last_used_at = peewee.TextField(null=True)
    updated_at = peewee.TextField()

    class Meta:
        table_name = "pods"
        primary_key = peewee.CompositeKey("host", "owner_kind", "owner_id")


class EventRow(peewee.Model):
    id = peewee.AutoField()
    host = peewee.TextField()
    owner_kind = peewee.TextField(null=True)
    owner_id = peewee.TextField(null=True)
    action = peewee.TextField()
    who = peewee.TextField()
    origin = peewee.TextField()
    process = peewee.TextField()
    detail = peewee.TextField()
    started_at = peewee.TextField()
    duration = peewee.FloatField(null=True)
    outcome = peewee.TextField(null=True)
    error = peewee.TextField()

    class Meta:
        table_name = "events"


class MigrationRow(peewee.Model):
    number = peewee.IntegerField(primary_key=True)
    applied_at = peewee.TextField()

    class Meta:
        table_name = "migrations"


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Store:
    """The pods of one HOST in the SQLite file DATABASE, which is made, readable by its owner only, if it is missing."""

    def __init__(self, database: str, host: str) -> None:
        self._host = host
        self._path = database
        self._began: dict[int, float] = {}
        self._database = peewee.SqliteDatabase(
            database,
            timeout=BUSY_TIMEOUT,
            lock_type="IMMEDIATE",
            pragmas={"journal_mode": "wal", "foreign_keys": 1, "synchronous": "normal"},
        )
        with self._reported():
            _make_file(Path(database))
            self._migrate()

    def close(self) -> None:
        self._database.close()

    def find(self, owner: Owner) -> Pod | None:
        with self._reported():
            row = PodRow.select().where(self._is(owner)).dicts().execute(self._database)
            return next((_pod(found) for found in row), None)

    def all(self) -> list[Pod]:
        """Every pod of the host, by namespace."""
        with self._reported():
            rows = PodRow.select().where(PodRow.host == self._host).order_by(PodRow.namespace)
            return [_pod(row) for row in rows.dicts().execute(self._database)]

    def has_volumes_in(self, volume_root: str) -> bool:
        """Whether a pod that was made is remembered whose volume folder is in VOLUME_ROOT."""
        made = PodRow.status.in_([State.RUNNING.value, State.STOPPED.value, State.DELETED.value])
        inside = PodRow.volume.startswith(f"{volume_root}/")
        with self._reported():
            rows = PodRow.select(PodRow.host).where((PodRow.host == self._host) & made & inside).limit(1)
            return any(True for _ in rows.tuples().execute(self._database))

    def remember(self, *pods: Pod) -> None:
        """Write down what is known of PODS now; the time of their last use stays."""
        with self._reported(), self._database.atomic():
            for pod in pods:
                values = self._values(pod)
                keys = [PodRow.host, PodRow.owner_kind, PodRow.owner_id]
                changed = {
                    name: value for name, value in values.items() if name not in ("host", "owner_kind", "owner_id")
                }
                if changed["last_used_at"] is None:
                    del changed["last_used_at"]
                PodRow.insert(**values).on_conflict(conflict_target=keys, update=changed).execute(self._database)

    def touch(self, owner: Owner) -> None:
        """Note that the pod is being used now."""
        with self._reported():
            PodRow.update(last_used_at=now()).where(self._is(owner)).execute(self._database)

    def forget(self, owners: Iterable[Owner]) -> None:
        with self._reported(), self._database.atomic():
            for owner in owners:
                PodRow.delete().where(self._is(owner)).execute(self._database)

    def begin(self, action: Action, owner: Owner | None, detail: str = "") -> int:
        """Write down that ACTION is going to be done now; the number by which to `finish` it.

        It is written when this returns, and stays when the process is killed. Without OWNER it concerns all of them.
        """
        with self._reported(), self._database.atomic():
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
            number = int(EventRow.insert(**values).execute(self._database))
            self._forget_old_events()
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
        with self._reported():
            EventRow.update(**values).where((EventRow.id == event) & EventRow.outcome.is_null()).execute(self._database)

    def events(self, owner: Owner | None = None, limit: int = 50) -> list[Event]:
        """The last LIMIT changes, newest first; of OWNER, or of the whole host."""
        whose = _event_of(self._host, owner) if owner else EventRow.host == self._host
        return self._events(whose, limit)

    def unfinished(self, owner: Owner | None) -> list[Event]:
        """The changes that have no outcome, newest first: those that run, and those whose process is gone."""
        return self._events(_event_of(self._host, owner) & EventRow.outcome.is_null(), EVENTS_KEPT)

    def _events(self, condition: Any, limit: int) -> list[Event]:
        with self._reported():
            rows = EventRow.select().where(condition).order_by(EventRow.id.desc()).limit(limit)
            return [_event(row) for row in rows.dicts().execute(self._database)]

    def _forget_old_events(self) -> None:
        mine = EventRow.host == self._host
        newest = EventRow.select(EventRow.id).where(mine).order_by(EventRow.id.desc())
        last = newest.limit(1).offset(EVENTS_KEPT)
        EventRow.delete().where(mine & (EventRow.id <= last)).execute(self._database)

    def _is(self, owner: Owner) -> Any:
        return (PodRow.host == self._host) & (PodRow.owner_kind == owner.kind.value) & (PodRow.owner_id == owner.id)

    def _values(self, pod: Pod) -> dict[str, Any]:
        service = {"name": pod.service_name, "ip": pod.cluster_ip, "ports": [asdict(port) for port in pod.ports]}
        return {
            "host": self._host,
            "owner_kind": pod.owner.kind.value,
            "owner_id": pod.owner.id,
            "namespace": pod.namespace,
            "conversation_id": pod.conversation_id,
            "pod_name": pod.pod_name,
            "status": pod.status.value,
            "reason": pod.reason,
            "spec": json.dumps(pod.spec.as_dict()),
            "volume": pod.volume,
            "service": json.dumps(service),
            "created_at": pod.created_at,
            "started_at": pod.started_at,
            "last_used_at": pod.last_used_at,
            "updated_at": now(),
        }

    def _migrate(self) -> None:
        if self._version() == len(MIGRATIONS):
            return
        with self._database.atomic():
            _sql(
                self._database,
                "CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)",
            )
            version = self._version()
            if version > len(MIGRATIONS):
                raise StoreError(
                    f"the database {self._path} was written by a newer lfgpods (schema {version})",
                    "Upgrade lfgpods, or set LFGPODS_DATABASE to another file.",
                )
            for number, migration in list(enumerate(MIGRATIONS, 1))[version:]:
                migration(self._database)
                MigrationRow.insert(number=number, applied_at=now()).execute(self._database)

    def _version(self) -> int:
        if not self._database.table_exists("migrations"):
            return 0
        newest = MigrationRow.select(peewee.fn.MAX(MigrationRow.number)).tuples().execute(self._database)
        return next(iter(newest))[0] or 0

    @contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (peewee.PeeweeException, OSError) as error:
            if isinstance(error, StoreError):
                raise
            raise StoreError(
                f"the database {self._path} cannot be used: {' '.join(str(error).split())}",
                "Check that its folder is writable and its disk not full, or set LFGPODS_DATABASE to another file.",
            ) from error


def _now_exactly() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _make_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with suppress(FileExistsError):  # to open and close one that is in use would drop this process's locks on it
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def _pod(row: dict[str, Any]) -> Pod:
    service, spec = json.loads(row["service"]), json.loads(row["spec"])
    return Pod(
        owner=Owner(OwnerKind(row["owner_kind"]), row["owner_id"]),
        namespace=row["namespace"],
        conversation_id=row["conversation_id"],
        pod_name=row["pod_name"],
        status=State(row["status"]),
        reason=row["reason"],
        spec=PodSpec.from_dict(spec),
        volume=row["volume"],
        service_name=service["name"],
        cluster_ip=service["ip"],
        ports=tuple(ServicePort(**port) for port in service["ports"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        last_used_at=row["last_used_at"],
    )


def _event_of(host: str, owner: Owner | None) -> Any:
    kind, id = (owner.kind.value, owner.id) if owner else (None, None)
    return (EventRow.host == host) & (EventRow.owner_kind == kind) & (EventRow.owner_id == id)


def _event(row: dict[str, Any]) -> Event:
    kind, id = row["owner_kind"], row["owner_id"]
    return Event(
        id=row["id"],
        owner=Owner(OwnerKind(kind), id) if kind else None,
        action=Action(row["action"]),
        who=row["who"],
        origin=row["origin"],
        detail=row["detail"],
        started_at=row["started_at"],
        duration=row["duration"],
        outcome=Outcome(row["outcome"]) if row["outcome"] else _without_outcome(row),
        error=row["error"],
    )


def _without_outcome(row: dict[str, Any]) -> Outcome:
    alive = processes.is_alive(row["process"])
    if alive is None:
        age = datetime.now(UTC) - datetime.fromisoformat(row["started_at"])
        alive = age.total_seconds() < PATIENCE
    return Outcome.RUNNING if alive else Outcome.INTERRUPTED
