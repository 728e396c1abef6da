"""SIGKILL at any point of create, delete and purge: the next command converges, whichever it is."""

from __future__ import annotations

import itertools
import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest

from lfgpods import Owner
from tests.faults.figures import Figure, Figures, check, scaled
from tests.faults.grounds import Ground, command_of

pytestmark = pytest.mark.timeout(1500)

VERB = {"first create": "create", "create": "create", "delete": "delete", "purge": "purge"}
BEFORE = {"first create": (), "create": ("create", "delete"), "delete": ("create",), "purge": ("create",)}
NO_SUCH_POD = 3


@dataclass(frozen=True)
class Kill:
    """KILLED is what was ended at its Nth POINT, THEN what is run next."""

    killed: str
    point: int
    then: str


@dataclass(frozen=True)
class Promises:
    converges: Figure
    lost: Figure
    orphaned: Figure
    doubled: Figure
    places: set[str] = field(default_factory=set)

    def tried(self, place: str) -> None:
        """Count a kill at PLACE, where there was none before."""
        new = place not in self.places
        self.places.add(place)
        for figure in self.all():
            figure.tried(int(new))

    def all(self) -> tuple[Figure, ...]:
        return self.converges, self.lost, self.orphaned, self.doubled


def begin(figures: Figures, name: str, times: int) -> Promises:
    return Promises(
        figures.begin(f"SIGKILL, {name}: the next command", "0 that do not converge", times, limit=120),
        figures.begin(f"SIGKILL, {name}: files", "0 lost", times),
        figures.begin(f"SIGKILL, {name}: objects, folders, leases, rows", "0 orphaned", times),
        figures.begin(f"SIGKILL, {name}: pods and volumes", "0 doubled", times),
    )


def prepared(ground: Ground, killed: str) -> tuple[Owner, str]:
    """An owner in the state in which KILLED starts, and the checksums of its files."""
    owner = ground.new_owner("kill")
    files = ""
    with ground.manager() as manager:
        for verb in BEFORE[killed]:
            if verb == "create":
                manager.ensure(owner)
                files = ground.write_files(owner)
            else:
                manager.delete(owner)
    return owner, files


def ended(ground: Ground, owner: Owner, verb: str, point: int) -> subprocess.CompletedProcess[bytes]:
    return ground.run_module("tests.faults.killed", str(point), *command_of(verb, owner))


def points_of(ground: Ground, killed: str) -> int:
    """How many points a whole run has."""
    owner, _ = prepared(ground, killed)
    done = ended(ground, owner, VERB[killed], 0)
    assert done.returncode == 0, done.stderr.decode()
    ground.purge(owner)
    return int(done.stderr.split()[-1])


def spread(ground: Ground, counts: dict[str, int]) -> list[Kill]:
    """As many kills as COUNTS says for each verb, at points spread evenly over its run."""
    thens = itertools.cycle(("create", "delete", "purge", "create", "purge"))
    kills = []
    with ThreadPoolExecutor(len(counts)) as pool:
        points_of_all = list(pool.map(lambda killed: points_of(ground, killed), counts))
    for (killed, count), points in zip(counts.items(), points_of_all, strict=True):
        for number in range(count):
            kills.append(Kill(killed, 1 + int(points * (number + 0.5) / count), next(thens)))
    assert len(set(kills)) == len(kills)
    return kills


def try_kill(ground: Ground, promises: Promises, kill: Kill) -> None:
    owner, before = prepared(ground, kill.killed)
    died = ended(ground, owner, VERB[kill.killed], kill.point)
    where = f"{kill.killed} {owner.id} {died.stderr.decode().strip()}; then {kill.then}"
    if died.returncode != -9:
        # This run had fewer points than the one that was counted.
        ground.purge(owner)
        return try_kill(ground, promises, replace(kill, point=int(kill.point * 0.8)))
    promises.tried(f"{kill.killed} {died.stderr.decode().strip()}")
    may_be_gone = kill.killed == "purge" or kill.then == "purge"

    start = time.monotonic()
    try:
        done = ground.lfgpods(*command_of(kill.then, owner))
    except subprocess.TimeoutExpired:
        return promises.converges.breaks(f"{where}: no end")
    promises.converges.took(time.monotonic() - start, where)
    said = done.stderr.decode().strip()
    nothing_there = done.returncode == NO_SUCH_POD and kill.then != "create"
    if not (done.returncode == 0 or (nothing_there and not ground.remains(owner))):
        promises.converges.breaks(f"{where}: {done.returncode} {said}")
    elif kill.then == "create":
        if json.loads(done.stdout)["status"] != "running":
            promises.converges.breaks(f"{where}: {done.stdout!r}")
        if doubles := ground.doubles(owner):
            promises.doubled.breaks(f"{where}: {doubles}")
    elif running := ground.running_pods(owner):
        promises.doubled.breaks(f"{where}: {running} still run")
    if kill.then == "purge" and (left := ground.remains(owner)):
        promises.orphaned.breaks(f"{where}: {left}")

    after = ground.checksums(owner)
    if after != before and not (may_be_gone and after == ""):
        promises.lost.breaks(f"{where}: {len(after.splitlines())} of {len(before.splitlines())} files")

    ending = ground.lfgpods(*command_of("purge", owner))
    if ending.returncode not in (0, NO_SUCH_POD):
        promises.converges.breaks(f"{where}, then purge: {ending.returncode} {ending.stderr.decode().strip()}")
    elif left := ground.remains(owner):
        promises.orphaned.breaks(f"{where}, then purge: {left}")
    return None


def kill_everywhere(ground: Ground, figures: Figures, least: int, counts: dict[str, int], at_once: int) -> None:
    """Kill as often as COUNTS says, at LEAST different places."""
    promises = begin(figures, ground.name, scaled(least))
    kills = spread(ground, {killed: scaled(count) for killed, count in counts.items()})
    with ThreadPoolExecutor(at_once) as pool:
        list(pool.map(lambda kill: try_kill(ground, promises, kill), kills))
    check(*promises.all())


def test_on_the_embedded_host(embedded: Ground, figures: Figures) -> None:
    counts = {"first create": 13, "create": 14, "delete": 20, "purge": 21}
    kill_everywhere(embedded, figures, 60, counts, at_once=3)


@pytest.mark.real
def test_on_the_real_host(real: Ground, figures: Figures) -> None:
    counts = {"first create": 5, "create": 5, "delete": 6, "purge": 8}
    kill_everywhere(real, figures, 20, counts, at_once=6)
