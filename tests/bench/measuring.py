"""Measuring side by side: rounds in which each contender runs once, and rows that say whether a bound holds."""

from __future__ import annotations

import gc
import re
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Contender(Generic[T]):
    """What is measured: `run` on what `before` made; `after` takes it away at the end of the round. Names differ."""

    name: str
    before: Callable[[], T]
    run: Callable[[T], object]
    after: Callable[[T], object]


def contender(name: str, run: Callable[[], object]) -> Contender[None]:
    """One that needs nothing made and leaves nothing behind."""
    return Contender(name, lambda: None, lambda _: run(), lambda _: None)


@dataclass(frozen=True)
class Sample:
    """The seconds of each round."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        return sorted(self.seconds)[max(0, round(0.95 * len(self.seconds)) - 1)]


def alternate(contenders: Sequence[Contender[Any]], rounds: int, *, trial: bool = True) -> list[Sample]:
    """A sample of each contender, of ROUNDS in which each runs once, after a TRIAL that does not count.

    Whatever else the machine does hits all of them, and each round another one begins.
    """
    if trial:
        _round(contenders)
    gc.collect()
    gc.freeze()  # so that nobody's milliseconds go into searching what the rivals' libraries loaded
    seconds: dict[str, list[float]] = {one.name: [] for one in contenders}
    for number in range(rounds):
        first = number % len(contenders)
        for name, taken in _round([*contenders[first:], *contenders[:first]]).items():
            seconds[name].append(taken)
    return [Sample(name, tuple(taken)) for name, taken in seconds.items()]


def _round(contenders: Sequence[Contender[Any]]) -> dict[str, float]:
    """The seconds of each; what they made is gone before the next round, whatever happens in this one."""
    seconds, made = {}, []
    try:
        for one in contenders:
            made.append((one, one.before()))
            start = time.perf_counter()
            one.run(made[-1][1])
            seconds[one.name] = time.perf_counter() - start
    finally:
        with ThreadPoolExecutor(len(contenders)) as pool:
            list(pool.map(lambda pair: pair[0].after(pair[1]), made))
    return seconds


@dataclass(frozen=True)
class Row:
    """One figure, in UNIT; BOUND is of the ratio where there is one, else of the figure itself."""

    what: str
    figure: float
    p95: float | None = None
    ratio: float | None = None
    """How many times a rival's figure ours is; it stands in the rival's row."""
    bound: float | None = None
    at_least: bool = False
    unit: str = "s"

    @property
    def holds(self) -> bool | None:
        """None where nothing is promised."""
        if self.bound is None:
            return None
        measured = self.figure if self.ratio is None else self.ratio
        return measured >= self.bound if self.at_least else measured <= self.bound

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table shows: what, figure, p95, ratio, bound, whether it holds."""
        return (
            self.what,
            told(self.figure, self.unit),
            "" if self.p95 is None else told(self.p95, self.unit),
            "" if self.ratio is None else f"{self.ratio:.2f}" if self.ratio >= 0.1 else f"1/{1 / self.ratio:.0f}",
            self._bound,
            {True: "yes", False: "NO", None: ""}[self.holds],
        )

    @property
    def _bound(self) -> str:
        if self.bound is None:
            return ""
        words = "at least" if self.at_least else "at most"
        if self.ratio is None:
            return f"{words} {told(self.bound, self.unit)}"
        return f"{words} {self.bound:g}" if self.bound > 0.5 else f"{words} 1/{1 / self.bound:g}"


HEADER = ("What", "Median", "p95", "Ratio", "Bound", "Holds")


def told(figure: float, unit: str) -> str:
    if unit != "s":
        return f"{figure:,.0f} {unit}"
    if figure >= 1:
        return f"{figure:.2f} s"
    return f"{figure * 1000:.0f} ms" if figure >= 0.01 else f"{figure * 1000:.1f} ms"


def compare(ours: Sample, rivals: Sequence[Sample], bounds: Mapping[str, float] | None = None) -> list[Row]:
    """Rows of OURS and of each rival, with the ratio of ours to it and the bound that BOUNDS has for its name."""
    bounds = bounds or {}
    return [
        Row(ours.name, ours.median, ours.p95),
        *(Row(one.name, one.median, one.p95, ours.median / one.median, bounds.get(one.name)) for one in rivals),
    ]


def peak_memory(status: str) -> float:
    """The most that a process had resident, in MB, of its /proc/PID/status; 0 if it has ended. exec starts it anew."""
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 / 1e6 if found else 0.0


def steadiness(ours: Sample, bound: float) -> Row:
    """How far the slow rounds are from the median."""
    return Row(f"{ours.name}: p95 beside its own median", ours.p95, ratio=ours.p95 / ours.median, bound=bound)
