"""Fixtures for tests on a real Kubernetes host, parallel groups of tests, and the clean-up of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer

from lfgpods.core.owners import Owner
from tests import lab as labs
from tests import postgres, scope
from tests.cluster import Cluster, provisioner
from tests.lanes import Lanes
from tests.managed import RIGHTS
from tests.realhost import RealHost

settings.register_profile("quick", max_examples=40, deadline=None)
settings.load_profile("quick")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    if not _is_worker(config):
        scope.begin()


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
        if not _is_worker(config) or os.environ["PYTEST_XDIST_WORKER"] == "gw0":
            (scope.shared_folder() / f"left-out-{mark}").write_text(f"{len(marked)} tests: {reason}")
        items[:] = [item for item in items if item not in marked]
        config.hook.pytest_deselected(items=marked)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Lanes:
    return Lanes(config, log)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    for path in sorted(scope.shared_folder().glob("left-out-*")):
        terminalreporter.write_line(path.read_text(), yellow=True)
    for line in config.stash.get(_LOST, []):
        terminalreporter.write_line(line, red=True)


_LOST = pytest.StashKey[list[str]]()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Remove everything of this run from the real host, and check that the stranger's files are intact."""
    if _is_worker(session.config) or not scope.has_happened("cluster"):
        return
    host = RealHost(None if labs.MODE == "own" else Cluster())
    host.remove_instances(scope.registered())
    lost = host.stranger.losses()
    session.config.stash[_LOST] = [f"this run removed {one}, which belongs to another owner" for one in lost]
    if lost:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    host.move_stranger_out()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    if not _is_worker(config):
        scope.end()


@pytest.fixture(scope="session")
def cluster() -> Cluster | None:
    """The running test cluster, with a stranger on it; None on the user's own host."""
    found = None if labs.MODE == "own" else Cluster(print)
    with scope.first_only("cluster") as first:
        if first:
            if found is not None:
                found.up(nodes=1)
            RealHost(found).move_stranger_in()
    return found


@pytest.fixture(scope="session")
def lab(cluster: Cluster | None, tmp_path_factory: pytest.TempPathFactory) -> labs.Lab:
    return labs.open_lab(cluster, tmp_path_factory.mktemp("lab"), "lab")


@pytest.fixture(scope="session")
def provisioning(cluster: Cluster | None) -> Iterator[None]:
    """Provide storage classes and their provisioner on the test cluster."""
    if cluster is None:
        pytest.skip("needs the test cluster: the tests do not know the storage classes of your own host")
    with provisioner.running():
        yield


@pytest.fixture(scope="session")
def rights(cluster: Cluster | None) -> Iterator[None]:
    """Create the account of docs/rbac.yaml on the test cluster."""
    if cluster is None:
        pytest.skip("needs the test cluster: the tests do not change the rights on your own host")
    cluster.kubectl("apply", "-f", str(RIGHTS))
    yield
    cluster.kubectl("delete", "-f", str(RIGHTS))


@pytest.fixture(scope="session")
def new_owner(lab: labs.Lab) -> Callable[[str], Owner]:
    """Return a function from a name to an owner that is unique to this run."""

    def give(name: str) -> Owner:
        return (Owner.conversation if name.startswith("conv") else Owner.project)(f"{name}-{scope.RUN}")

    return give


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, and an environment without settings."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith(("K8S_SSH_", "LFGPODS_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return tmp_path
