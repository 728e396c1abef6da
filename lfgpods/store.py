"""What lfgpods remembers, in SQLite: a row for each pod, which the cluster can correct and rebuild.

The only importer of peewee. Safe for many processes at once; no transaction is open while anything else is
waited for. No row holds a secret.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import peewee

from lfgpods.errors import StoreError
from lfgpods.naming import Owner, OwnerKind
from lfgpods.pod import Pod, ServicePort
from lfgpods.spec import PodSpec, Resources
from lfgpods.state import State

BUSY_TIMEOUT = 30


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


MIGRATIONS: tuple[Callable[[peewee.Database], None], ...] = (_create_pods,)
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
            "spec": json.dumps(asdict(pod.spec)),
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


def _make_file(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))


def _pod(row: dict[str, Any]) -> Pod:
    service, spec = json.loads(row["service"]), json.loads(row["spec"])
    return Pod(
        owner=Owner(OwnerKind(row["owner_kind"]), row["owner_id"]),
        namespace=row["namespace"],
        conversation_id=row["conversation_id"],
        pod_name=row["pod_name"],
        status=State(row["status"]),
        reason=row["reason"],
        spec=PodSpec(spec["image"], Resources(**spec["resources"]), spec["storage_size"], tuple(spec["ports"])),
        volume=row["volume"],
        service_name=service["name"],
        cluster_ip=service["ip"],
        ports=tuple(ServicePort(**port) for port in service["ports"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        last_used_at=row["last_used_at"],
    )
