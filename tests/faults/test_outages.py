"""A volume root that is full, read-only or missing; kubelet that is stopped; an API server that goes and comes.

Each is told as a clear error within its limit, and nothing is lost once it is over.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from lfgpods import Command, LfgpodsError, Owner, PodManager
from lfgpods.core.errors import OutcomeUnknownError
from tests.cluster import Cluster
from tests.faults.figures import Figure, Figures, check
from tests.faults.grounds import Ground, command_of
from tests.faults.test_link import HangError, within
from tests.waiting import eventually

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]

NO_SUCH_POD = 3
LIMIT = 60.0
"""Seconds in which what cannot be done is told; each wait inside is shorter."""
SHORT = 8.0
"""Seconds that callers give for a pod where the test needs the wait to run out."""
DISK = "/mnt/lfgpods-faults-disk-" + secrets.token_hex(3)
ROOT = f"{DISK}/volumes"


@dataclass(frozen=True)
class Promises:
    told: Figure
    lost: Figure

    def expect(self, what: str, work: Callable[[], object], *codes: str) -> None:
        """WORK ends within its limit with an error that has one of CODES, a cause and a remedy."""
        self.told.tried()
        start = time.monotonic()
        try:
            result = within(LIMIT, work, lambda: None)
            if "done" not in codes:
                self.told.breaks(f"{what}: no error, but {result!r:.200}")
        except LfgpodsError as error:
            if error.code not in codes or not error.message or not error.hint:
                self.told.breaks(f"{what}: {error.code} {error}; hint {error.hint!r}")
        except HangError:
            self.told.breaks(f"{what}: no end within {LIMIT:g} s")
        self.told.took(time.monotonic() - start, what)

    def intact(self, what: str, ground: Ground, manager: PodManager, owner: Owner, files: str) -> None:
        """OWNER's pod can be brought to run, and sees FILES."""
        self.lost.tried()
        try:
            manager.ensure(owner)
            seen = manager.exec(owner, Command("cat sub/5 | wc -c")).stdout.split()
            if seen != [b"2000"] or not set(files.splitlines()) <= set(ground.checksums(owner).splitlines()):
                self.lost.breaks(f"{what}: the files are not what they were: {seen}")
        except LfgpodsError as error:
            self.lost.breaks(f"{what}: {error.code} {error}")


def begin(figures: Figures, what: str, told: int, lost: int) -> Promises:
    return Promises(
        figures.begin(f"{what}: told", "0 wrong or unclear", told, limit=LIMIT),
        figures.begin(f"{what}: after it", "0 lost or not recovered", lost),
    )


@pytest.fixture
def disk(real: Ground) -> Iterator[Ground]:
    """The real host with its volumes on a small disk of their own, an ext4 image, which tests fill and take away."""
    assert real.lab is not None
    if real.lab.cluster is None:
        pytest.skip("the disks of a host of one's own are not for tests to fill")
    made = real.sh(
        'mkdir -p "$1" && dd if=/dev/zero of="$1.img" bs=1M count=24 2>/dev/null && mkfs.ext4 -q -m 0 "$1.img" && '
        'mount -o loop "$1.img" "$1" && mkdir -m 700 "$1/volumes"',
        DISK,
    )
    try:
        if made.exit_code != 0:
            pytest.fail(f"the host makes no disk: {made.stderr.decode()}")
        yield replace(real, environment={**real.environment, "LFGPODS_VOLUME_ROOT": ROOT})
    finally:
        real.purge_what_is_left()
        real.sh('while umount "$1" 2>/dev/null; do :; done; rm -f "$1.img"; rmdir "$1"', DISK)


@contextmanager
def filled(ground: Ground) -> Iterator[None]:
    """Not one block and not one inode is free on the disk."""
    fill = 'cat /dev/zero >"$1/fill" 2>/dev/null; i=0; mkdir "$1/more"; while : >"$1/more/$i"; do i=$((i+1)); done 2>/dev/null'
    ground.sh(f"{fill}; sync", DISK)
    try:
        yield
    finally:
        ground.sh('rm -rf "$1/fill" "$1/more"; sync', DISK)


@contextmanager
def read_only(ground: Ground) -> Iterator[None]:
    done = ground.sh('sync; mount -o remount,ro "$1"', DISK)
    assert done.exit_code == 0, done.stderr
    try:
        yield
    finally:
        ground.sh('mount -o remount,rw "$1"', DISK)


@contextmanager
def missing(ground: Ground, promises: Promises) -> Iterator[None]:
    """The disk is not mounted, so that the volume root is not there."""
    done = ground.sh('umount "$1"', DISK)
    assert done.exit_code == 0, done.stderr
    try:
        yield
    finally:
        # What was made in its place meanwhile would be hidden below the mount: that is told, and removed.
        made = ground.sh('ls -A "$1"; rm -rf "$1/volumes"; mount -o loop "$1.img" "$1"', DISK)
        if made.stdout:
            promises.lost.breaks(f"something was made where the volume root was missing: {made.stdout!r}")


def kept_and_running(ground: Ground, manager: PodManager) -> tuple[tuple[Owner, str], tuple[Owner, str]]:
    """One owner whose pod was deleted, and one whose pod runs, with their files."""
    owners = []
    for _ in range(2):
        owner = ground.new_owner("outage")
        manager.ensure(owner)
        owners.append((owner, ground.write_files(owner)))
    manager.delete(owners[0][0])
    return owners[0], owners[1]


def test_a_volume_root_that_is_full(disk: Ground, figures: Figures) -> None:
    promises = begin(figures, "Volume root filled to the last byte", 4, 3)
    with disk.manager() as manager:
        (kept, kept_files), (running, files) = kept_and_running(disk, manager)
        new = disk.new_owner("outage")
        with filled(disk):
            promises.expect("a new owner", lambda: manager.ensure(new), "disk_full")
            written = manager.exec(running, Command("echo more >more"))
            promises.told.tried()
            if written.exit_code == 0 or b"No space" not in written.stderr:
                promises.told.breaks(f"a write in the pod: {written}")
            promises.intact("a kept owner while it is full", disk, manager, kept, kept_files)
            promises.expect("delete", lambda: manager.delete(running), "done")
            promises.expect("purge of what never got a volume", lambda: manager.delete(new, purge=True), "done")
        for owner, its_files in ((kept, kept_files), (running, files)):
            promises.intact("full", disk, manager, owner, its_files)
        for owner in (kept, running):
            manager.delete(owner, purge=True)
    check(promises.told, promises.lost)


def test_a_volume_root_that_is_read_only(disk: Ground, figures: Figures) -> None:
    promises = begin(figures, "Volume root read-only", 4, 2)
    with disk.manager() as manager:
        (kept, kept_files), (running, files) = kept_and_running(disk, manager)
        with read_only(disk):
            promises.expect("a new owner", lambda: manager.ensure(disk.new_owner("outage")), "read_only")
            written = manager.exec(running, Command("echo more >more"))
            promises.told.tried()
            if written.exit_code == 0 or b"Read-only" not in written.stderr:
                promises.told.breaks(f"a write in the pod: {written}")
            promises.expect("delete", lambda: manager.delete(running), "done")
            promises.expect("purge", lambda: manager.delete(running, purge=True), "read_only")
            if disk.checksums(running) != files:
                promises.lost.breaks("a purge that was refused took files")
        promises.intact("read-only", disk, manager, kept, kept_files)
        promises.lost.tried()
        manager.delete(running, purge=True)
        if left := disk.remains(running):
            promises.lost.breaks(f"a purge that was refused cannot be ended: {left}")
        manager.delete(kept, purge=True)
    check(promises.told, promises.lost)


def test_a_volume_root_that_is_missing(disk: Ground, figures: Figures) -> None:
    promises = begin(figures, "Volume root missing", 2, 2)
    with disk.manager() as manager:
        (kept, kept_files), (running, files) = kept_and_running(disk, manager)
        manager.delete(running)
        with missing(disk, promises):
            # An empty folder in place of the files would look as if all was lost, and hide them for good.
            promises.expect("a kept owner", lambda: manager.ensure(kept), "volume_missing")
            promises.expect("purge", lambda: manager.delete(running, purge=True), "volume_missing")
        promises.intact("missing", disk, manager, kept, kept_files)
        promises.lost.tried()
        if disk.checksums(running) not in (files, ""):
            promises.lost.breaks("a purge without the volume root took files in part")
        disk.purge(running)
        if left := disk.remains(running):
            promises.lost.breaks(f"a purge without the volume root cannot be ended: {left}")
        manager.delete(kept, purge=True)
    check(promises.told, promises.lost)


@pytest.fixture
def machinery(real: Ground, cluster: Cluster | None) -> Cluster:
    if cluster is None:
        pytest.skip("the programs of a host of one's own are not for tests to stop")
    return cluster


@contextmanager
def paused(cluster: Cluster, program: str) -> Iterator[None]:
    cluster.pause(program)
    try:
        yield
    finally:
        cluster.resume(program)
        eventually(cluster.healthy, within=90)


def test_a_kubelet_that_is_stopped(real: Ground, machinery: Cluster, figures: Figures) -> None:
    promises = begin(figures, "kubelet stopped", 4, 2)
    with real.manager() as manager:
        (kept, kept_files), (running, files) = kept_and_running(real, manager)
        with paused(machinery, "kubelet"):
            promises.expect(
                "create",
                lambda: manager.ensure(kept, timeout=SHORT),
                "time_limit",
                "unschedulable",
                "pod_not_ready",
                "node_unreachable",
            )
            promises.expect("exec", lambda: manager.exec(running, Command("true")), *SILENCE)
            promises.expect("delete", lambda: manager.delete(running, timeout=SHORT), "time_limit")
            promises.expect("purge", lambda: manager.delete(running, purge=True, timeout=SHORT), "time_limit")
            if real.checksums(running) != files:
                promises.lost.breaks("a purge took files while a pod may still write to them")
        promises.intact("kubelet", real, manager, kept, kept_files)
        promises.lost.tried()
        manager.delete(running, purge=True)
        if left := real.remains(running):
            promises.lost.breaks(f"a purge that ran out of time cannot be ended: {left}")
        manager.delete(kept, purge=True)
    check(promises.told, promises.lost)


SILENCE = (
    "cluster_unreachable",
    "kubectl",
    "time_limit",
    "outcome_unknown",
    "internal_error",
    "lock_lost",
    "refused",
    "node_unreachable",
)
MOMENTS = {"create": (0.6,), "delete": (0.9,), "purge": (0.3, 0.9)}
"""When the API server is stopped, as parts of the steps that a whole run tells."""


class Steps:
    """The different steps that a run tells, and what is done at the Nth of them."""

    def __init__(self, number: int = -1, then: Callable[[], object] = lambda: None) -> None:
        self.told: list[str] = []
        self._number = number
        self._then = then

    def __call__(self, step: str) -> None:
        if step not in self.told:
            self.told.append(step)
            if len(self.told) - 1 == self._number:
                self._then()

    @property
    def reached(self) -> bool:
        return len(self.told) > self._number


def use(ground: Ground, owner: Owner, verb: str, steps: Steps) -> object:
    with ground.manager() as manager:
        if verb == "create":
            return manager.ensure(owner, on_step=steps, timeout=30)
        return manager.delete(owner, purge=verb == "purge", on_step=steps, timeout=30)


def interrupted(ground: Ground, cluster: Cluster, promises: Promises, owner: Owner, verb: str, number: int) -> None:
    """Run VERB with the API server stopped at the step NUMBER of it, and started again after it."""
    steps = Steps(number, lambda: cluster.pause("kube-apiserver"))
    start = time.monotonic()
    try:
        within(LIMIT, lambda: use(ground, owner, verb, steps), lambda: None)
        promises.told.note("done all the same")
    except LfgpodsError as error:
        if error.code not in SILENCE or not error.hint:
            promises.told.breaks(f"{verb} at {steps.told[-1]!r}: {error.code} {error}")
    except HangError:
        promises.told.breaks(f"{verb} at {steps.told[-1]!r}: no end within {LIMIT:g} s")
    finally:
        promises.told.took(time.monotonic() - start, verb)
        cluster.resume("kube-apiserver")
        eventually(cluster.healthy, within=90)
    if steps.reached:
        promises.told.tried()


def test_an_api_server_that_restarts(real: Ground, machinery: Cluster, figures: Figures) -> None:
    promises = begin(figures, "API server stopped and started in the middle", 4, 4)
    owner = real.new_owner("outage")
    use(real, owner, "create", Steps())
    files = real.write_files(owner)
    before = {"create": ("create", "delete"), "delete": ("create",), "purge": ("create",)}
    for verb, moments in MOMENTS.items():
        for plain in before[verb]:
            use(real, owner, plain, Steps())
        whole = Steps()
        use(real, owner, verb, whole)
        for moment in moments:
            for plain in before[verb]:
                use(real, owner, plain, Steps())
            if verb == "purge":
                real.write_files(owner)
            number = int(moment * len(whole.told))
            interrupted(real, machinery, promises, owner, verb, number)
            promises.lost.tried()
            where = f"{verb} after {whole.told[number]!r}"
            done = real.lfgpods(*command_of(verb, owner))
            if done.returncode != 0 and not (verb == "purge" and done.returncode == NO_SUCH_POD):
                promises.lost.breaks(f"{where}: {done.returncode} {done.stderr.decode()}")
            elif verb == "create" and (doubles := real.doubles(owner)):
                promises.lost.breaks(f"{where}: {doubles}")
            elif verb == "delete" and (running := real.running_pods(owner)):
                promises.lost.breaks(f"{where}: {running} still run")
            elif verb == "purge" and (left := real.remains(owner)):
                promises.lost.breaks(f"{where}: {left}")
            if verb != "purge" and real.checksums(owner) != files:
                promises.lost.breaks(f"{where}: the files are not what they were")
    check(promises.told, promises.lost)


def test_an_exec_that_loses_its_api_server(real: Ground, machinery: Cluster, figures: Figures) -> None:
    told = figures.begin("API server stopped during an exec", "0 but outcome unknown", 1, limit=LIMIT)
    owner = real.new_owner("outage")
    with real.manager() as manager:
        manager.ensure(owner)
        line = Command("echo begun; sleep 20; echo ended")
        told.tried()
        with told.timed("exec"):
            try:
                outcome = within(
                    LIMIT,
                    lambda: manager.exec(owner, line, on_stdout=lambda _: machinery.pause("kube-apiserver")),
                    lambda: None,
                )
                told.breaks(f"a success of which nobody can know: {outcome}")
            except OutcomeUnknownError as error:
                told.note(error.code)
            except (LfgpodsError, HangError) as error:
                told.breaks(f"{type(error).__name__} {error}")
            finally:
                machinery.resume("kube-apiserver")
                eventually(machinery.healthy, within=90)
        manager.delete(owner, purge=True)
    check(told)
