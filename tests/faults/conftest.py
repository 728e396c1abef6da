"""The figures of the fault suite, and the table at its end. A figure that does not hold is a failed run."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from tests.faults.figures import SCALE, SEED, Figures
from tests.faults.grounds import Ground, embedded_ground, real_ground
from tests.faults.hostile import Clock
from tests.lab import Lab

_FIGURES = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = Figures()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and not all(figure.holds for figure in session.config.stash[_FIGURES].all):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    figures = config.stash[_FIGURES]
    if not figures.all:
        return
    terminalreporter.section("faults")
    share = "" if SCALE == 1 else f", LFGPODS_FAULTS_SCALE={SCALE:g}: {SCALE:.0%} of each figure of make faults"
    terminalreporter.write_line(f"LFGPODS_FAULTS_SEED={SEED}{share}")
    for line in figures.table():
        terminalreporter.write_line(line, red=line.endswith(" NO"))


@pytest.fixture(scope="session")
def figures(pytestconfig: pytest.Config) -> Figures:
    return pytestconfig.stash[_FIGURES]


@pytest.fixture(scope="session")
def embedded() -> Iterator[Ground]:
    with embedded_ground() as ground:
        yield ground


@pytest.fixture(scope="session")
def real(lab: Lab) -> Iterator[Ground]:
    with real_ground(lab) as ground:
        yield ground


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock in place of the true one."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock
