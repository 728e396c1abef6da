"""The time that an operation has left, and whom it tells of its steps."""

from __future__ import annotations

import pytest

from lfgpods.core import operation
from lfgpods.core.operation import Operation


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(operation, "time", clock)
    return clock


def test_an_operation_expires_when_its_seconds_are_over(clock: Clock) -> None:
    whole = Operation(10)
    clock.now += 4
    assert (whole.left, whole.expired) == (6, False)
    clock.now += 7
    assert (whole.left, whole.expired, whole.seconds) == (-1, True, 10)


def test_a_part_has_its_own_time_limit_and_tells_the_same_listener(clock: Clock) -> None:
    steps: list[str] = []
    part = Operation(10, steps.append).within(60)
    clock.now += 30
    part.on_step("waiting")
    assert (part.left, steps) == (30, ["waiting"])


def test_an_operation_that_is_nearly_over_can_be_given_a_little_longer(clock: Clock) -> None:
    whole = Operation(10)
    assert whole.at_least(5) is whole
    clock.now += 8
    assert whole.at_least(5).left == 5
