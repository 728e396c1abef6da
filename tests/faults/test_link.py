"""A link that is cut, stalls, delays or corrupts: never a success that is not known, never a wait without end."""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from lfgpods import Command, LfgpodsError, OutcomeUnknownError, Owner, PodManager, TimeLimitError
from lfgpods.core.pod import State
from tests.faults.figures import SEED, Figure, Figures, check, scaled
from tests.faults.grounds import Ground, command_of
from tests.faults.proxy import Direction, Fault, Proxy, Trouble

pytestmark = [pytest.mark.real, pytest.mark.timeout(1500)]

T = TypeVar("T")
EXECS_AT_ONCE = 6
OWNERS_AT_ONCE = 6
HANG = 45.0
"""Seconds after which a stalled link has to be told: 15 to notice it, and as much to give up a login or a request."""
CUTS = (Trouble.CUT, Trouble.RESET)
DATA = b"".join(hashlib.sha256(b"%d" % n).hexdigest().encode() + b"\n" for n in range(300))[:20_000]


class HangError(Exception):
    """It did not end within its limit."""


def within(limit: float, work: Callable[[], T], free: Callable[[], object]) -> T:
    """What WORK gives or raises, or HangError after LIMIT seconds, when FREE is called so that it does end."""
    given: list[T] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            given.append(work())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(limit)
    if thread.is_alive():
        free()
        thread.join(60)
        raise HangError
    if raised:
        raise raised[0]
    return given[0]


@dataclass(frozen=True)
class Promises:
    """What holds of a command over a faulty link. Only faults that struck are counted."""

    cuts: Figure
    others: Figure
    ends: Figure

    def tried(self, fault: Fault) -> None:
        right = self.right(fault)
        right.tried()
        right.note(fault.trouble)
        self.ends.tried()

    def right(self, fault: Fault) -> Figure:
        return self.cuts if fault.trouble in CUTS else self.others


def begin(figures: Figures, what: str, cuts: int, others: int) -> Promises:
    return Promises(
        figures.begin(f"{what} over a link that is cut", "0 wrong outcomes", cuts),
        figures.begin(f"{what} over a link that stalls, delays, corrupts", "0 wrong outcomes", others),
        figures.begin(f"{what} over a faulty link: the end", "0 hangs", cuts + others, limit=HANG),
    )


def faults_of(passed: dict[Direction, int], troubles: dict[Trouble, int], seed: str) -> list[Fault]:
    """As many faults of each kind as TROUBLES says, at random bytes of what PASSED in a whole run."""
    rng = random.Random(f"{SEED} {seed}")
    found = []
    for trouble, count in troubles.items():
        for _ in range(scaled(count)):
            direction: Direction = rng.choice(("up", "down"))
            found.append(Fault(trouble, direction, rng.randrange(int(passed[direction] * 0.97))))
    rng.shuffle(found)
    return found


@dataclass(frozen=True)
class Links:
    """Gives each try a proxy, a known_hosts file that knows it, and a database of its own."""

    ground: Ground
    folder: Path
    numbers: Iterator[int]

    @contextmanager
    def through(self, fault: Fault | None) -> Iterator[tuple[Proxy, PodManager]]:
        ssh = self.ground.settings().require_ssh()
        assert ssh.known_hosts is not None
        keys = [line.split(maxsplit=1)[1] for line in ssh.known_hosts.read_text().splitlines() if line[:1] not in "#@"]
        number = next(self.numbers)
        with Proxy(ssh.host, ssh.port or 22, fault) as proxy:
            known = self.folder / f"known_hosts-{number}"
            known.write_text("".join(f"[127.0.0.1]:{proxy.port} {key}\n" for key in keys))
            settings = {
                "K8S_SSH_HOST": "127.0.0.1",
                "K8S_SSH_PORT": str(proxy.port),
                "K8S_SSH_KNOWN_HOSTS": str(known),
                "LFGPODS_DATABASE": str(self.folder / f"{number}.db"),
            }
            with self.ground.manager(**settings) as manager:
                yield proxy, manager

    def passed(self, work: Callable[[PodManager], object]) -> dict[Direction, int]:
        """How many bytes a run of WORK moves in each direction when nothing goes wrong."""
        with self.through(None) as (proxy, manager):
            work(manager)
            return dict(proxy.passed)


@pytest.fixture(scope="module")
def links(real: Ground, tmp_path_factory: pytest.TempPathFactory) -> Links:
    return Links(real, tmp_path_factory.mktemp("links"), itertools.count())


def say_and_fail(mark: str) -> Command:
    return Command(f"echo {mark} >>/tmp/ran; cat /tmp/data; echo told >&2; exit 7")


EXPECTED = (7, DATA, b"told\n")


def attempt(
    promises: Promises, what: str, fault: Fault, proxy: Proxy, work: Callable[[], T]
) -> T | LfgpodsError | None:
    """What WORK gives, or the error that it ends with; None, and told, where it is an end that must not be."""
    start = time.monotonic()
    try:
        return within(HANG, work, proxy.cut)
    except LfgpodsError as error:
        return error
    except HangError:
        promises.ends.breaks(f"{fault}: no end after {HANG:g} s")
    except Exception as error:
        promises.right(fault).breaks(f"{fault}: {type(error).__name__}: {error}")
    finally:
        promises.ends.took(time.monotonic() - start, f"{what}, {fault}")
    return None


def run_marked(manager: PodManager, owner: Owner, mark: str, commands_before: int) -> tuple[int, bytes, bytes]:
    """Run the command that leaves a MARK, in a shell that has run others before or in a new one."""
    for _ in range(commands_before):
        assert manager.exec(owner, Command("true"))
    result = manager.exec(owner, say_and_fail(mark))
    return result.exit_code, result.stdout, result.stderr


def try_exec(
    links: Links, promises: Promises, owner: Owner, fault: Fault, mark: str, commands_before: int
) -> tuple[str, bool]:
    """Run a command over a faulty link; its mark, and whether it may have run by what was said."""
    with links.through(fault) as (proxy, manager):

        def work() -> tuple[int, bytes, bytes]:
            return run_marked(manager, owner, mark, commands_before)

        outcome = attempt(promises, "exec", fault, proxy, work)
        if proxy.struck.is_set():
            promises.tried(fault)
    if isinstance(outcome, tuple) and outcome != EXPECTED:
        promises.right(fault).breaks(f"{fault}: exit code {outcome[0]}, {len(outcome[1])} bytes, stderr {outcome[2]!r}")
    if isinstance(outcome, LfgpodsError) and fault.trouble is Trouble.DELAY:
        promises.right(fault).breaks(f"{fault}: {outcome.code} {outcome}")
    return mark, not isinstance(outcome, LfgpodsError) or isinstance(outcome, OutcomeUnknownError | TimeLimitError)


def test_exec_tells_the_truth(real: Ground, links: Links, figures: Figures) -> None:
    troubles = {Trouble.CUT: 55, Trouble.RESET: 24, Trouble.CORRUPT: 20, Trouble.STALL: 6, Trouble.DELAY: 4}
    promises = begin(figures, "exec", scaled(150), scaled(50))
    once = figures.begin("exec over a faulty link: what ran", "0 ran twice, or said not to", scaled(200))
    owner = real.new_owner("link")
    with real.manager() as manager:
        manager.ensure(owner)
        assert manager.exec(owner, Command("cat >/tmp/data"), stdin=io.BytesIO(DATA))
        cases: list[tuple[Fault, int]] = []
        for commands_before in (0, 4):  # in a new shell, and in one that has run others
            passed = links.passed(lambda pods, n=commands_before: run_marked(pods, owner, "whole", n))  # type: ignore[misc]
            faults = faults_of(passed, troubles, f"exec {commands_before}")
            cases += [(fault, commands_before) for fault in faults]
        with ThreadPoolExecutor(EXECS_AT_ONCE) as pool:
            tries = list(
                pool.map(
                    lambda numbered: try_exec(
                        links, promises, owner, numbered[1][0], f"mark{numbered[0]}", numbered[1][1]
                    ),
                    enumerate(cases),
                )
            )
        ran = manager.exec(owner, Command("cat /tmp/ran")).stdout.decode().split()
    for mark, may_have_run in tries:
        once.tried()
        if ran.count(mark) > 1 or (mark in ran and not may_have_run):
            once.breaks(f"{mark} ran {ran.count(mark)} times: {cases[int(mark[4:])][0]}")
    real.purge(owner)
    check(promises.cuts, promises.others, promises.ends, once)


def runs(ground: Ground, owner: Owner) -> bool:
    """Whether OWNER's pod really runs, asked over a link of its own."""
    with ground.manager() as manager:
        pod = manager.status(owner)
        return pod.status is State.RUNNING and manager.exec(owner, Command("true")).exit_code == 0


def try_create(links: Links, promises: Promises, owner: Owner, fault: Fault) -> None:
    with links.through(fault) as (proxy, manager):
        outcome = attempt(promises, "create", fault, proxy, lambda: manager.ensure(owner))
        if proxy.struck.is_set():
            promises.tried(fault)
        if outcome is not None and not isinstance(outcome, LfgpodsError) and not runs(links.ground, owner):
            promises.right(fault).breaks(f"create, {fault}: success, and {owner} does not run")
        if isinstance(outcome, LfgpodsError) and fault.trouble is Trouble.DELAY:
            promises.right(fault).breaks(f"create, {fault}: {outcome.code} {outcome}")


def try_delete(links: Links, promises: Promises, owner: Owner, fault: Fault) -> None:
    with links.through(fault) as (proxy, manager):
        outcome = attempt(promises, "delete", fault, proxy, lambda: manager.delete(owner))
        if proxy.struck.is_set():
            promises.tried(fault)
        running = links.ground.running_pods(owner)
        if outcome is not None and not isinstance(outcome, LfgpodsError) and running:
            promises.right(fault).breaks(f"delete, {fault}: success, and {running} runs")
        if isinstance(outcome, LfgpodsError) and fault.trouble is Trouble.DELAY:
            promises.right(fault).breaks(f"delete, {fault}: {outcome.code} {outcome}")


def converge(ground: Ground, converges: Figure, owner: Owner, verb: str, fault: Fault) -> None:
    """The plain command after the faulty one, in another process."""
    converges.tried()
    with converges.timed(f"{verb} after {fault}"):
        done = ground.lfgpods(*command_of(verb, owner))
    if done.returncode != 0:
        converges.breaks(f"{verb} {owner.id}: {done.returncode} {done.stderr.decode().strip()}")
    elif verb == "create":
        if json.loads(done.stdout)["status"] != "running" or (doubles := ground.doubles(owner)):
            converges.breaks(f"{verb} {owner.id}: {done.stdout.decode()} {doubles}")
    elif running := ground.running_pods(owner):
        converges.breaks(f"{verb} {owner.id}: {running} still run")


def cycles(
    links: Links, promises: Promises, converges: Figure, creates: Sequence[Fault], deletes: Sequence[Fault]
) -> None:
    """One owner that is created and deleted over faulty links again and again, and its files all along."""
    ground = links.ground
    owner = ground.new_owner("link")
    with ground.manager() as manager:
        manager.ensure(owner)
        files = ground.write_files(owner)
        manager.delete(owner)
    for create, delete in zip(creates, deletes, strict=True):
        try_create(links, promises, owner, create)
        converge(ground, converges, owner, "create", create)
        try_delete(links, promises, owner, delete)
        converge(ground, converges, owner, "delete", delete)
        if ground.checksums(owner) != files:
            converges.breaks(f"{owner.id}: its files are not what they were")
            break
    ground.purge(owner)


def test_create_and_delete_tell_the_truth(real: Ground, links: Links, figures: Figures) -> None:
    troubles = {Trouble.CUT: 22, Trouble.RESET: 9, Trouble.CORRUPT: 5, Trouble.STALL: 2, Trouble.DELAY: 2}
    # Fewer than that, as a watch that ends early moves fewer bytes than the first one did, and no fault strikes.
    promises = begin(figures, "create and delete", scaled(50), scaled(12))
    converges = figures.begin("the plain command after it", "0 that do not converge", scaled(80), limit=90)
    owner = real.new_owner("link")
    with real.manager() as manager:
        manager.ensure(owner)
        manager.delete(owner)
    creates = faults_of(links.passed(lambda pods: pods.ensure(owner)), troubles, "create")
    deletes = faults_of(links.passed(lambda pods: pods.delete(owner)), troubles, "delete")
    real.purge(owner)
    with ThreadPoolExecutor(OWNERS_AT_ONCE) as pool:
        shares = [
            pool.submit(cycles, links, promises, converges, creates[n::OWNERS_AT_ONCE], deletes[n::OWNERS_AT_ONCE])
            for n in range(OWNERS_AT_ONCE)
        ]
        for share in shares:
            share.result()
    check(promises.cuts, promises.others, promises.ends, converges)
