"""Opens the database that LFGPODS_DATABASE names, whatever its kind."""

from __future__ import annotations

from lfgpods.core.settings import is_postgresql
from lfgpods.store.engine import Engine
from lfgpods.store.migrations import migrate


def open_engine(database: str) -> Engine:
    """Open DATABASE, a path or a PostgreSQL URL, and bring its schema up to date.

    Raises StoreError, and SettingsError for a malformed URL.
    """
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
