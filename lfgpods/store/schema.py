"""The tables of the store and how they came to be: the same migrations on every kind of database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import peewee

from lfgpods.core.errors import StoreError
from lfgpods.store.engine import Engine


def _create_pods(engine: Engine) -> None:
    engine.sql(
        """
        CREATE TABLE pods (
            host {text} NOT NULL,
            owner_kind {text} NOT NULL,
            owner_id {text} NOT NULL,
            namespace {text} NOT NULL,
            conversation_id {text},
            pod_name {text},
            status {text} NOT NULL,
            reason {text} NOT NULL,
            spec {text} NOT NULL,
            volume {text} NOT NULL,
            service {text} NOT NULL,
            created_at {text},
            started_at {text},
            last_used_at {text},
            updated_at {text} NOT NULL,
            PRIMARY KEY (host, owner_kind, owner_id),
            UNIQUE (host, namespace)
        )
        """
    )


def _create_events(engine: Engine) -> None:
    engine.sql(
        """
        CREATE TABLE events (
            id {id},
            host {text} NOT NULL,
            owner_kind {text},
            owner_id {text},
            action {text} NOT NULL,
            who {text} NOT NULL,
            origin {text} NOT NULL,
            process {text} NOT NULL,
            detail {text} NOT NULL,
            started_at {text} NOT NULL,
            duration {real},
            outcome {text},
            error {text} NOT NULL
        )
        """
    )
    engine.sql("CREATE INDEX events_of_host ON events (host, id)")
    engine.sql("CREATE INDEX events_of_owner ON events (host, owner_kind, owner_id, id)")
    engine.sql("CREATE INDEX unfinished_events ON events (host, owner_kind, owner_id, id) WHERE outcome IS NULL")


def _index_volumes(engine: Engine) -> None:
    engine.sql("CREATE INDEX volumes_of_host ON pods (host, volume)")


MIGRATIONS: tuple[Callable[[Engine], None], ...] = (_create_pods, _create_events, _index_volumes)
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


def migrate(engine: Engine) -> None:
    """Bring the database up to date. Raises StoreError where a newer lfgpods did so before."""
    if engine.run(lambda: _version(engine)) != len(MIGRATIONS):
        engine.transaction(lambda: _apply_missing(engine))


def _apply_missing(engine: Engine) -> None:
    engine.lock_schema()
    engine.sql("CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY, applied_at {text} NOT NULL)")
    version = _version(engine)
    if version > len(MIGRATIONS):
        raise StoreError(
            f"the database {engine.name} was written by a newer lfgpods (schema {version})",
            "Upgrade lfgpods, or set LFGPODS_DATABASE to another database.",
        )
    for number, migration in list(enumerate(MIGRATIONS, 1))[version:]:
        migration(engine)
        MigrationRow.insert(number=number, applied_at=now()).execute(engine.database)


def _version(engine: Engine) -> int:
    newest = MigrationRow.select(peewee.fn.MAX(MigrationRow.number)).tuples()
    try:
        return next(iter(newest.execute(engine.database)))[0] or 0
    except (peewee.OperationalError, peewee.ProgrammingError):
        if not engine.database.table_exists("migrations"):
            return 0
    return next(iter(newest.execute(engine.database)))[0] or 0  # somebody made it just now, or this tells what is wrong
