"""How the tables came to be. The same migrations run on every kind of database, each once, recorded by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import peewee

from lfgpods.core.errors import StoreError
from lfgpods.store.engine import Engine
from lfgpods.store.schema import MigrationRow, now


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


MIGRATIONS: Mapping[str, Callable[[Engine], None]] = {
    "create_pods": _create_pods,
    "create_events": _create_events,
    "index_volumes": _index_volumes,
}
"""In the order in which they run. Only add to the end: never edit, rename or remove a migration."""
COUNTED = ("create_pods", "create_events", "index_volumes")
"""The migrations 1, 2 and 3 of a database that recorded their number and no name."""


def migrate(engine: Engine) -> None:
    """Run the migrations that the database lacks. Raises StoreError if a newer lfgpods has migrated it."""
    if set(engine.run(lambda: _recorded_or_none(engine))) != set(MIGRATIONS):
        engine.transaction(lambda: _run_missing(engine))


def _run_missing(engine: Engine) -> None:
    engine.lock_schema()
    columns = "number INTEGER PRIMARY KEY, name {text}, applied_at {text} NOT NULL"
    engine.sql(f"CREATE TABLE IF NOT EXISTS migrations ({columns})")
    recorded = _recorded(engine)
    if unknown := [name for name in recorded if name not in MIGRATIONS]:
        raise StoreError(
            f"the database {engine.name} was written by a newer lfgpods (migration {unknown[-1]})",
            "Upgrade lfgpods, or set LFGPODS_DATABASE to another database.",
        )
    _add_names(engine)
    missing = [name for name in MIGRATIONS if name not in recorded]
    for number, name in enumerate(missing, len(recorded) + 1):
        MIGRATIONS[name](engine)
        MigrationRow.insert(number=number, name=name, applied_at=now()).execute(engine.database)


def _recorded(engine: Engine) -> list[str]:
    """The names of the migrations that have run, in their order."""
    cursor = engine.execute("SELECT * FROM migrations ORDER BY number")
    columns = [column[0] for column in cursor.description]
    rows = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
    return [row.get("name") or _name_of(row["number"]) for row in rows]


def _recorded_or_none(engine: Engine) -> list[str]:
    """As `_recorded`, outside of a transaction; empty if the database is new."""
    try:
        return _recorded(engine)
    except (peewee.OperationalError, peewee.ProgrammingError):
        if not engine.database.table_exists("migrations"):
            return []
    return _recorded(engine)  # another process has just made the table, or this raises the real error


def _name_of(number: int) -> str:
    """The name of a migration that was recorded by its number only."""
    return COUNTED[number - 1] if number <= len(COUNTED) else f"number {number}"


def _add_names(engine: Engine) -> None:
    """Name the migrations of a database that only counted them."""
    cursor = engine.execute("SELECT * FROM migrations LIMIT 0")
    if "name" not in [column[0] for column in cursor.description]:
        engine.sql("ALTER TABLE migrations ADD COLUMN name {text}")
        for number, name in enumerate(COUNTED, 1):
            MigrationRow.update(name=name).where(MigrationRow.number == number).execute(engine.database)
