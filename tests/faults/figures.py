"""What the fault suite counts: for each promise how often it was tried, where it broke, and whether that is allowed."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

SCALE = float(os.environ.get("LFGPODS_FAULTS_SCALE") or 1)
"""Smaller than 1 for a trial: how often things are tried, and how often they have to be."""
SEED = int(os.environ.get("LFGPODS_FAULTS_SEED") or 1)
"""Where offsets, files and hostile input start from; the table tells it."""


def scaled(times: int) -> int:
    return max(1, round(times * SCALE))


@dataclass
class Figure:
    """One line of the table. Safe for many threads."""

    what: str
    bound: str
    at_least: int
    limit: float | None = None
    """Seconds that the longest try may take."""
    times: int = 0
    longest: float = 0.0
    slowest: str = ""
    broken: list[str] = field(default_factory=list)
    notes: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def tried(self, times: int = 1) -> None:
        with self._lock:
            self.times += times

    def breaks(self, detail: str) -> None:
        with self._lock:
            self.broken.append(detail)

    def note(self, what: str) -> None:
        """Count WHAT among the things that the table tells beside the measure."""
        with self._lock:
            self.notes[what] = self.notes.get(what, 0) + 1

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Take the time of one try, WHAT; that it fails is for the caller to judge."""
        start = time.monotonic()
        try:
            yield
        finally:
            self.took(time.monotonic() - start, what)

    def took(self, seconds: float, what: str) -> None:
        with self._lock:
            if seconds > self.longest:
                self.longest, self.slowest = seconds, what

    @property
    def measured(self) -> str:
        parts = [str(len(self.broken))]
        if self.limit is not None:
            parts.append(f"longest {self.longest:.1f} s of {self.limit:g} s")
        parts += [f"{count} {what}" for what, count in sorted(self.notes.items())]
        return ", ".join(parts)

    @property
    def holds(self) -> bool:
        in_time = self.limit is None or self.longest <= self.limit
        return self.times >= self.at_least and not self.broken and in_time


class Figures:
    """All lines of the table, in the order in which the tests began them."""

    def __init__(self) -> None:
        self.all: list[Figure] = []

    def begin(self, what: str, bound: str, at_least: int, limit: float | None = None) -> Figure:
        """A new line, which does not hold before it was tried often enough."""
        figure = Figure(what, bound, at_least, limit)
        self.all.append(figure)
        return figure

    def table(self) -> list[str]:
        rows = [("What", "How often", "Bound", "Measured", "Holds")]
        for figure in self.all:
            often = f"{figure.times} of {figure.at_least}"
            rows.append((figure.what, often, figure.bound, figure.measured, "yes" if figure.holds else "NO"))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        slow = [figure for figure in self.all if figure.limit is not None and figure.longest > figure.limit / 2]
        return [*lines, *(f"slowest of {figure.what}: {figure.slowest}" for figure in slow)]


def check(*figures: Figure) -> None:
    """Fail with what broke FIGURES."""
    failing = [figure for figure in figures if not figure.holds]
    told = [
        "\n  ".join(
            [
                f"{figure.what}: {figure.times} of {figure.at_least}, {figure.measured}",
                *figure.broken[:12],
                f"slowest: {figure.slowest}",
            ]
        )
        for figure in failing
    ]
    assert not failing, "\n" + "\n".join(told)
