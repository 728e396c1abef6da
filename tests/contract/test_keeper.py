"""With a keeper, `lfgpods exec` gives the same guarantees as without one, only faster."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from lfgpods import Command, Owner
from tests.contract.sites import Site
from tests.waiting import eventually

LFGPODS = [sys.executable, "-m", "lfgpods"]


class Kept:
    """The command line with LFGPODS_KEEP set."""

    def __init__(self, site: Site, owner: Owner, folder: Path, keep: str) -> None:
        self.site, self.owner, self.folder = site, owner, folder
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("LFGPODS_", "K8S_SSH_"))}
        self.environment = {**ours, **site.environment, "LFGPODS_KEEP": keep, "XDG_RUNTIME_DIR": str(folder)}

    def exec(
        self, *words: str, stdin: bytes = b"", env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.words(*words),
            input=stdin,
            capture_output=True,
            env={**self.environment, **(env or {})},
            cwd=self.folder,
            timeout=60,
        )

    def words(self, *words: str) -> list[str]:
        return [*LFGPODS, "exec", "--project-id", self.owner.id, *words]

    def pids(self) -> list[int]:
        done = subprocess.run(
            [*LFGPODS, "keeper", "status"], capture_output=True, env=self.environment, cwd=self.folder, timeout=60
        )
        return [int(line.split()[0]) for line in done.stdout.splitlines()]

    def runs(self, mark: str) -> bool:
        """Whether a process in the pod has MARK in its command line."""
        pattern = f"[{mark[0]}]{mark[1:]}"
        script = 'for f in /proc/[0-9]*/cmdline; do tr "\\0" " " < "$f"; echo; done 2>/dev/null | grep -c "$0"'
        return self.site.pods.exec(self.owner, Command(argv=("sh", "-c", script, pattern))).stdout != b"0\n"

    def stop(self) -> bytes:
        done = subprocess.run(
            [*LFGPODS, "keeper", "stop"], capture_output=True, env=self.environment, cwd=self.folder, timeout=60
        )
        assert eventually(lambda: not self.pids())
        return done.stdout


@pytest.fixture
def kept(site: Site, resident: Owner, tmp_path: Path) -> Iterator[Kept]:
    """A command line with a running keeper, which gets the next command."""
    kept = Kept(site, resident, tmp_path, "5m")
    assert kept.exec("-c", "true").returncode == 0
    assert eventually(kept.pids)
    yield kept
    kept.stop()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_keeper_passes_on_streams_exit_codes_and_bytes(kept: Kept) -> None:
    data = os.urandom(300_000)
    done = kept.exec("-i", "-c", "cat; echo err >&2; exit 7", stdin=data)
    assert (done.returncode, done.stdout, done.stderr) == (7, data, b"err\n")
    done = kept.exec("--", "printf", "%s|", "a b", "", "$(id)", "é")
    assert (done.returncode, done.stdout.decode()) == (0, "a b||$(id)|é|")
    assert len(kept.pids()) == 1


@pytest.mark.parametrize("keep", ["5m", ""])
def test_closed_streams_are_like_dev_null(kept: Kept, keep: str) -> None:
    for closed, out in (("<&-", b"here\n"), (">&-", b""), ("2>&-", b"here\n"), ("<&- >&- 2>&-", b"")):
        line = shlex.join(kept.words("-i", "-c", "cat; echo here; echo err >&2; exit 3"))
        done = subprocess.run(
            ["sh", "-c", f"{line} {closed}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**kept.environment, "LFGPODS_KEEP": keep},
            cwd=kept.folder,
            timeout=60,
        )
        assert (done.returncode, done.stdout) == (3, out)


def test_only_this_user_can_use_the_socket(kept: Kept) -> None:
    (socket,) = (path for path in kept.folder.glob("lfgpods-keepers-*/*") if path.is_socket())
    assert stat.S_IMODE(socket.stat().st_mode) == 0o600


def test_errors_are_the_same_as_without_a_keeper(kept: Kept) -> None:
    for words, code, said in (
        (["-c", "true", "--workdir", "/no/such"], 125, b"no folder"),
        (["-c", "sleep 60", "--timeout", "0.5"], 125, b"was ended after 0.5 s"),
        ([], 125, b"no command was given"),
        (["--nonsense"], 125, b"--nonsense"),
    ):
        done = kept.exec(*words)
        assert done.returncode == code
        assert done.stderr.startswith(b"Error: ")
        assert said in done.stderr
    assert kept.exec("--help").stdout.startswith(b"Usage: lfgpods exec")


def test_each_set_of_settings_has_a_keeper_of_its_own(kept: Kept) -> None:
    (first,) = kept.pids()
    assert kept.exec("-c", "true", env={"LFGPODS_TIMEOUT": "77"}).returncode == 0
    assert eventually(lambda: len(kept.pids()) == 2)
    assert first in kept.pids()


def test_killing_the_caller_ends_its_command(kept: Kept) -> None:
    with subprocess.Popen(
        kept.words("-c", "echo begun; exec sleep 66666"), stdout=subprocess.PIPE, env=kept.environment, cwd=kept.folder
    ) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"begun\n"
        assert kept.runs("66666")
        caller.kill()
    assert eventually(lambda: not kept.runs("66666"))
    assert len(kept.pids()) == 1


@pytest.mark.parametrize("keep", ["5m", ""])
def test_output_without_room_ends_the_command(kept: Kept, keep: str) -> None:
    environment = {**kept.environment, "LFGPODS_KEEP": keep}
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            kept.words("-c", "echo begun; exec sleep 77777"),
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=kept.folder,
            timeout=60,
        )
    assert done.returncode == 125
    assert done.stderr.startswith(b"Error: the output cannot be written: No space left on device\nHint: ")
    assert eventually(lambda: not kept.runs("77777"))


def test_killing_the_keeper_during_a_command_leaves_an_unknown_outcome(kept: Kept) -> None:
    (keeper,) = kept.pids()
    with subprocess.Popen(
        kept.words("-c", "echo begun; sleep 20"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=kept.environment,
        cwd=kept.folder,
    ) as caller:
        assert caller.stdout is not None
        assert caller.stdout.readline() == b"begun\n"
        os.kill(keeper, signal.SIGKILL)
        _, stderr = caller.communicate(timeout=30)
    assert caller.returncode == 125
    assert b"outcome unknown" in stderr
    assert kept.exec("-c", "echo back").stdout == b"back\n"
    assert eventually(lambda: kept.pids() not in ([], [keeper]))


def test_a_frozen_keeper_costs_only_time(kept: Kept) -> None:
    (keeper,) = kept.pids()
    os.kill(keeper, signal.SIGSTOP)
    mark = f"/workspace/frozen-{time.monotonic_ns()}"
    try:
        assert kept.exec("-c", f"echo once >> {mark}; cat {mark}").stdout == b"once\n"
    finally:
        os.kill(keeper, signal.SIGCONT)
    assert kept.exec("-c", "true").returncode == 0
    assert kept.exec("-c", f"cat {mark}; rm {mark}").stdout == b"once\n"


def test_a_keeper_ends_when_it_is_stopped_and_when_it_is_idle(kept: Kept) -> None:
    (keeper,) = kept.pids()
    assert str(keeper).encode() in kept.stop()
    assert eventually(lambda: not is_alive(keeper))
    idle = Kept(kept.site, kept.owner, kept.folder, "2s")
    assert idle.exec("-c", "true").returncode == 0
    (keeper,) = eventually(idle.pids)
    assert eventually(lambda: not is_alive(keeper))


def test_there_is_no_keeper_without_the_setting(site: Site, resident: Owner, tmp_path: Path) -> None:
    for keep in ("", "0"):
        without = Kept(site, resident, tmp_path, keep)
        assert without.exec("-c", "true").returncode == 0
        assert without.pids() == []
    done = Kept(site, resident, tmp_path, "soon").exec("-c", "true")
    assert done.returncode == 125
    assert b"LFGPODS_KEEP must be a time" in done.stderr
