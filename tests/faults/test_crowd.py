"""Many processes at once, each with a database of its own as if on a machine of its own."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from lfgpods import Owner
from tests.faults.figures import Figures, check, scaled
from tests.faults.grounds import Ground

pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

PROCESSES = 8
TIMES = scaled(25)
LIMIT = 900.0


@dataclass(frozen=True)
class Share:
    """What one process said of its part."""

    pods: list[str]
    wrong: list[str]
    done: int


def crowd(ground: Ground, folder: Path, behaviour: str, owners: Sequence[Owner]) -> list[Share]:
    """Have a process for each of OWNERS use lfgpods at the same time."""
    children = [
        subprocess.Popen(
            ground.process(
                "tests.faults.crowd", behaviour, owner.id, str(TIMES), LFGPODS_DATABASE=str(folder / f"{number}.db")
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for number, owner in enumerate(owners)
    ]

    def outcome(child: subprocess.Popen[bytes]) -> Share:
        try:
            said, told = child.communicate(timeout=LIMIT)
        finally:
            child.kill()
        return Share(**json.loads(said)) if child.returncode == 0 else Share([], [told.decode()[-500:]], 0)

    with ThreadPoolExecutor(len(children)) as pool:
        return list(pool.map(outcome, children))


def test_many_creates_of_one_owner_make_one_pod(real: Ground, figures: Figures, tmp_path: Path) -> None:
    right = figures.begin(f"{PROCESSES} processes create the same owner", "0 failed", PROCESSES * TIMES)
    one = figures.begin(f"{PROCESSES} processes create the same owner: pods", "1", PROCESSES * TIMES)
    owner = real.new_owner("crowd")
    given: set[str] = set()
    for share in crowd(real, tmp_path, "same", [owner] * PROCESSES):
        for figure in (right, one):
            figure.tried(share.done)
        for wrong in share.wrong:
            right.breaks(wrong)
        given |= set(share.pods)
    if len(given) != 1:
        one.breaks(f"these were given: {sorted(given)}")
    if doubles := real.doubles(owner):
        one.breaks(f"there are {doubles}")
    real.purge(owner)
    check(right, one)


def test_mixed_use_of_different_owners(real: Ground, figures: Figures, tmp_path: Path) -> None:
    what = f"{PROCESSES} processes create, exec and delete"
    right = figures.begin(f"{what} different owners", "0 wrong results", PROCESSES * TIMES)
    one = figures.begin(f"{what} different owners: pods", "1 each", PROCESSES)
    owners = [real.new_owner("crowd") for _ in range(PROCESSES)]
    for share in crowd(real, tmp_path, "mixed", owners):
        right.tried(share.done)
        for wrong in share.wrong:
            right.breaks(wrong)

    def look(owner: Owner) -> None:
        one.tried()
        with real.manager() as manager:
            manager.ensure(owner)
        if doubles := real.doubles(owner):
            one.breaks(f"{owner.id}: {doubles}")
        real.purge(owner)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(look, owners))
    check(right, one)
