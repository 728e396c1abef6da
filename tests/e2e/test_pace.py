"""Creates that all take about as long: none of them waits for a resync, a back-off or a clock."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest

from lfgpods import Request
from lfgpods.core.owners import Owner
from tests.lab import Lab

pytestmark = pytest.mark.real

CREATES = 30


def test_the_slowest_of_30_creates_takes_at_most_three_times_the_median(
    lab: Lab, new_owner: Callable[[str], Owner]
) -> None:
    seconds = []
    with lab.manager() as manager:
        for n in range(CREATES):
            owner = new_owner(f"pace-{n}")
            start = time.monotonic()
            manager.ensure(owner, Request(cpu_requests="10m", memory_requests="16Mi"))
            seconds.append(time.monotonic() - start)
            manager.delete(owner)
    median, slowest = statistics.median(seconds), max(seconds)
    print(f"{CREATES} creates: median {median:.2f} s, slowest {slowest:.2f} s")
    assert slowest <= 3 * median, [round(one, 2) for one in sorted(seconds)]
