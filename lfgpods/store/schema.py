"""The tables of the database, as peewee queries them. migrations.py makes them."""

from __future__ import annotations

from datetime import UTC, datetime

import peewee


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


class ChangeRow(peewee.Model):
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
    name = peewee.TextField(null=True)
    applied_at = peewee.TextField()

    class Meta:
        table_name = "migrations"


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
