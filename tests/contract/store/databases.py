"""The databases that the store's contract runs on."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from abc import ABC, abstractmethod
from contextlib import closing
from pathlib import Path
from typing import Any

from lfgpods.store.store import Store
from tests.postgres import Server

ROOT = Path(__file__).parents[3]


class Database(ABC):
    """One database, empty at first. Closes the stores it opened when the test ends."""

    kind: str
    scans: tuple[str, ...]
    """Words in a query plan for a step that reads every row."""

    def __init__(self, place: str) -> None:
        self.place = place
        """The value of LFGPODS_DATABASE."""
        self._opened: list[Store] = []

    def open(self, host: str = "host") -> Store:
        self._opened.append(Store(self.place, host))
        return self._opened[-1]

    def close(self) -> None:
        for store in self._opened:
            store.close()

    def python(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """A process that runs CODE with this database's path or URL as its first argument."""
        return subprocess.Popen(
            [sys.executable, "-c", code, self.place, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    @abstractmethod
    def ask(self, *statements: str) -> list[tuple[Any, ...]]:
        """The rows of the last of STATEMENTS, asked without the store."""

    @abstractmethod
    def tables(self) -> set[str]:
        """The names of the tables."""

    @abstractmethod
    def connections(self) -> int:
        """How many connections this process holds."""

    @abstractmethod
    def content(self) -> bytes:
        """All bytes of the database."""

    @abstractmethod
    def plan(self, store: Store, sql: str, parameters: Any) -> list[str]:
        """The plan of SQL in STORE, one step each; without a scan if there is another way."""


class SqliteDatabase(Database):
    kind = "sqlite"
    scans = ("SCAN", "TEMP B-TREE")

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder / "new" / "lfgpods.db"))

    def ask(self, *statements: str) -> list[tuple[Any, ...]]:
        Path(self.place).parent.mkdir(exist_ok=True)
        with closing(sqlite3.connect(self.place)) as connection, connection:
            return [connection.execute(statement).fetchall() for statement in statements][-1]

    def tables(self) -> set[str]:
        return {name for (name,) in self.ask("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def connections(self) -> int:
        return sum(os.path.realpath(file) == self.place for file in Path("/proc/self/fd").iterdir())

    def content(self) -> bytes:
        return b"".join(path.read_bytes() for path in Path(self.place).parent.glob(f"{Path(self.place).name}*"))

    def plan(self, store: Store, sql: str, parameters: Any) -> list[str]:
        engine = store._engine
        return engine.run(lambda: [row[3] for row in engine.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)])


class PostgresqlDatabase(Database):
    kind = "postgresql"
    scans = ("Seq Scan", "Sort")

    def __init__(self, server: Server) -> None:
        super().__init__(server.database())
        self.server = server

    def ask(self, *statements: str) -> list[tuple[Any, ...]]:
        return [self.server.ask(statement, self.place) for statement in statements][-1]

    def tables(self) -> set[str]:
        return {str(name) for (name,) in self.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}

    def connections(self) -> int:
        name = self.place.rpartition("/")[2]
        query = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND application_name = 'lfgpods'"
        return int(str(self.server.ask(query)[0][0]))

    def content(self) -> bytes:
        return repr([self.ask(f"SELECT * FROM {table}") for table in self.tables()]).encode()

    def plan(self, store: Store, sql: str, parameters: Any) -> list[str]:
        # With so few rows a scan is fastest. Forbid it, to see whether there is another way.
        engine = store._engine

        def explain() -> list[str]:
            engine.execute("SET enable_seqscan = off")
            return [row[0] for row in engine.execute(f"EXPLAIN {sql}", parameters)]

        return engine.run(explain)
