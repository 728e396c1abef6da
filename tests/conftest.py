"""Fixtures for tests on a real Kubernetes host, and the line that says when those, or others, were left out."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings

from lfgpods.core.errors import PodNotFoundError
from lfgpods.core.owners import Owner
from tests import lab as labs
from tests import postgres
from tests.cluster import Cluster

settings.register_profile("quick", max_examples=40, deadline=None)
settings.load_profile("quick")

RUN = secrets.token_hex(3)
"""Sets the owners of this run apart from those of every other one."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for mark, needed, reason in (
        ("real", labs.MODE in ("required", "own"), labs.left_out()),
        ("postgres", labs.MODE == "required", postgres.left_out(labs.MODE)),
    ):
        marked = [item for item in items if item.get_closest_marker(mark)]
        if not marked or reason is None:
            continue
        if needed:
            raise pytest.UsageError(reason)
        config.stash.setdefault(_LEFT_OUT, []).append(f"{len(marked)} tests: {reason}")
        items[:] = [item for item in items if item not in marked]
        config.hook.pytest_deselected(items=marked)


_LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for line in config.stash.get(_LEFT_OUT, []):
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session")
def cluster() -> Cluster | None:
    """The test cluster, brought up if need be; None on a host of the user's own."""
    if labs.MODE == "own":
        return None
    cluster = Cluster(print)
    cluster.up(nodes=1)
    return cluster


@pytest.fixture(scope="session")
def lab(cluster: Cluster | None, tmp_path_factory: pytest.TempPathFactory) -> labs.Lab:
    folder = tmp_path_factory.mktemp("lab")
    environment = {
        **labs.host_environment(cluster),
        "LFGPODS_IMAGE": labs.Images().small,
        "LFGPODS_DATABASE": str(folder / "lfgpods.db"),
        "XDG_DATA_HOME": str(folder / "data"),
    }
    return labs.Lab(environment, folder, cluster)


@pytest.fixture(scope="session")
def new_owner(lab: labs.Lab) -> Iterator[Callable[[str], Owner]]:
    """Gives an owner of this run's own for a name; all of them are purged at the end, and that has to succeed."""
    owners: list[Owner] = []

    def give(name: str) -> Owner:
        owner = Owner.conversation(name) if name.startswith("conv") else Owner.project(f"{name}-{RUN}")
        owners.append(owner)
        return owner

    yield give

    def purge(owner: Owner) -> None:
        with lab.manager() as manager:
            try:
                manager.delete(owner, purge=True)
            except PodNotFoundError:
                return

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(purge, owners))


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("K8S_SSH_", "LFGPODS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path
