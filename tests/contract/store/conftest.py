"""Every test of the store's contract runs on each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.contract.store.databases import Database, PostgresqlDatabase, SqliteDatabase
from tests.postgres import Server, server

_KINDS = [pytest.param("sqlite", id="sqlite"), pytest.param("postgresql", id="postgresql", marks=pytest.mark.postgres)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture in ("database", "target"):
        if fixture in metafunc.fixturenames:
            metafunc.parametrize(fixture, _KINDS, indirect=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with server() as running:
        yield running


@pytest.fixture
def postgresql(postgres: Server) -> Iterator[PostgresqlDatabase]:
    """A database on a server that the test may restart."""
    database = PostgresqlDatabase(postgres)
    yield database
    database.close()


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    yield from _database(request, tmp_path)


@pytest.fixture
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A second database."""
    yield from _database(request, tmp_path / "target")


def _database(request: pytest.FixtureRequest, folder: Path) -> Iterator[Database]:
    folder.mkdir(exist_ok=True)
    opened: Database
    if request.param == "sqlite":
        opened = SqliteDatabase(folder)
    else:
        opened = PostgresqlDatabase(request.getfixturevalue("postgres"))
    yield opened
    opened.close()
