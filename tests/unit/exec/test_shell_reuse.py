"""A reused shell gives the same guarantees as a new one, in each shell that pods have."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lfgpods.core.errors import OutcomeUnknownError, TimeLimitError, UsageError
from lfgpods.exec import shell
from lfgpods.exec.command import Command, Invocation
from lfgpods.exec.shell import Shell, ShellIsGoneError
from tests.unit.exec.test_shell import SHELLS, Pod
from tests.waiting import eventually


class OneShell:
    """Runs commands in one shell of a pod until the shell ends."""

    def __init__(self, pod: Pod) -> None:
        self.shell = Shell(pod.kubectl, "namespace", "pod")

    def run(
        self, line: str, *, stdin: bytes | None = None, workdir: str | None = None, timeout: float | None = None
    ) -> tuple[int, bytes, bytes]:
        out, err = bytearray(), bytearray()
        source = None if stdin is None else io.BytesIO(stdin)
        command = Command(line, workdir=workdir)
        code = self.shell.run(Invocation(command, out.extend, err.extend, stdin=source, timeout=timeout))
        return code, bytes(out), bytes(err)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a shell cannot be seen here if a process that it left behind holds its streams open."""
    monkeypatch.setattr(shell, "READY_WITHIN", 0.3)


def assert_nothing_runs_beside(one: OneShell, left_behind: int) -> None:
    """Check that the shell takes no command while the process LEFT_BEHIND lives. Kills that process."""
    try:
        with pytest.raises(ShellIsGoneError):
            one.run("sleep 1; echo never")
    finally:
        os.kill(left_behind, signal.SIGKILL)


def command_line(process: int) -> bytes:
    with contextlib.suppress(OSError):  # it has just ended
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").glob("[0-9]*")]


def command_lines(end: bytes) -> list[int]:
    """The processes whose command line ends with END."""
    return [process for process in processes() if command_line(process).endswith(end)]


def processes_like(shell: int) -> list[int]:
    """A shell and its subshells: they share its command line and group, whatever their parent is."""
    line, found = command_line(shell), []
    for process in processes():
        with contextlib.suppress(OSError):  # it has just ended
            if command_line(process) == line and os.getpgid(process) == os.getpgid(shell):
                found.append(process)
    return found


def children_of(process: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            pid, _, rest = path.read_text(errors="replace").partition(" ")
            if int(rest.rpartition(")")[2].split()[1]) == process:
                found.append(int(pid))
    return found


@pytest.fixture(params=SHELLS)
def one(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OneShell]:
    one = OneShell(Pod(tmp_path, request.param))
    with closing(one.shell):
        yield one


def test_each_command_has_its_own_streams_and_exit_code(one: OneShell) -> None:
    for number in range(5):
        line = f"echo out {number}; echo err {number} >&2; exit {number}"
        assert one.run(line) == (number, f"out {number}\n".encode(), f"err {number}\n".encode())
        assert one.shell.is_reusable


def test_a_command_leaves_nothing_for_the_next(one: OneShell, tmp_path: Path) -> None:
    shown = 'pwd; echo "${left-none} $* $(umask) $-"; set; left 2>&1'
    before = one.run(shown)
    one.run(f"cd {tmp_path}; export left=1; left() {{ echo here; }}; umask 077; set -f -- a b; alias pwd=id; set -u")
    after = one.run(shown)
    volatile = (b"_=", b"BASHPID", b"PPID", b"RANDOM", b"SECONDS", b"EPOCH", b"SRANDOM", b"BASH_")

    def stable(result: tuple[int, bytes, bytes]) -> list[bytes]:
        return [line for line in result[1].splitlines() if not line.startswith(volatile)]

    assert stable(after) == stable(before)
    assert b"lfg_" not in before[1]


def test_the_variables_of_the_image_stay_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("line", "mode", "feed", "count", "dir", "token", "size", "code", "pid", "word", "worker", "session")
    for name in names:
        monkeypatch.setenv(name, f"the image's {name}")
    for program in SHELLS:
        one = OneShell(Pod(tmp_path / program.split()[0], program))
        with closing(one.shell):
            for _ in range(3):
                said = one.run("; ".join(f'echo "${name}"' for name in names))[1].decode()
                assert said.splitlines() == [f"the image's {name}" for name in names]


def test_a_command_does_not_read_the_stdin_of_the_one_before(one: OneShell) -> None:
    for number in range(3):
        data = os.urandom(300_000) + str(number).encode()
        assert one.run("cat", stdin=data) == (0, data, b"")
        assert one.run("cat; echo nothing") == (0, b"nothing\n", b"")


def test_unread_input_of_a_command_ends_the_shell(one: OneShell) -> None:
    assert one.run("head -c 3", stdin=b"abc" * 1_000_000)[1] == b"abc"
    if one.shell.is_reusable:  # all of it was sent, but not read
        with pytest.raises(ShellIsGoneError):
            one.run("echo never")


@pytest.mark.usefixtures("impatient")
def test_a_process_that_holds_the_streams_ends_the_shell_before_the_next_command(one: OneShell) -> None:
    code, out, _ = one.run("(trap '' TERM HUP; sleep 1; echo late; exec sleep 60) & echo $!")
    assert code == 0
    assert_nothing_runs_beside(one, int(out))


@pytest.mark.usefixtures("impatient")
def test_a_process_that_holds_the_streams_on_another_descriptor_ends_the_shell_too(one: OneShell) -> None:
    _, out, _ = one.run("exec 9>&2; sleep 60 </dev/null >/dev/null 2>&1 & echo $!")
    assert_nothing_runs_beside(one, int(out))


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="only root can become another user")
@pytest.mark.usefixtures("impatient")
def test_an_unreadable_process_of_another_user_ends_the_shell_too(tmp_path: Path) -> None:
    one = OneShell(Pod(tmp_path, "setpriv --bounding-set=-sys_ptrace sh"))  # like the root user of a container
    with closing(one.shell):
        _, out, _ = one.run("setpriv --reuid=1000 --clear-groups sh -c 'sleep 0.5; echo late; exec sleep 60' & echo $!")
        assert_nothing_runs_beside(one, int(out))


def test_a_command_that_read_its_input_in_time_leaves_no_killer_behind(one: OneShell) -> None:
    main = int(one.run("cut -d' ' -f4 /proc/$PPID/stat")[1])
    assert eventually(lambda: len(processes_like(main)) == 2)  # the shell, and the one that waits for the next command
    for number in range(3):
        assert one.run("cat", stdin=b"%d" % number, timeout=86_398) == (0, b"%d" % number, b"")
        assert one.shell.is_reusable
    assert eventually(lambda: len(processes_like(main)) == 2)
    assert not command_lines(b"sleep\x0086399\0")


def test_a_process_that_does_not_hold_the_streams_lives_on_beside_the_next_command(one: OneShell) -> None:
    pid = int(one.run("sleep 60 </dev/null >/dev/null 2>&1 & echo $!")[1])
    assert one.run("echo next") == (0, b"next\n", b"")
    os.kill(pid, signal.SIGKILL)


def test_late_output_of_a_command_is_not_taken_for_that_of_the_next(one: OneShell) -> None:
    for _ in range(10):
        one.run("(echo late; echo late >&2) &")
        try:
            assert one.run("echo mine; echo mine >&2") == (0, b"mine\n", b"mine\n")
        except ShellIsGoneError:  # the process had not ended yet
            return


def test_a_killed_shell_has_not_run_the_next_command(one: OneShell, tmp_path: Path) -> None:
    main = int(one.run("cut -d' ' -f4 /proc/$PPID/stat")[1])
    os.kill(main, signal.SIGSTOP)  # so that it starts nothing while we look for processes to kill
    assert eventually(lambda: Path(f"/proc/{main}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    for process in (main, *children_of(main)):
        with contextlib.suppress(ProcessLookupError):  # it may have ended together with the one before
            os.kill(process, signal.SIGKILL)
    with pytest.raises(ShellIsGoneError):
        one.run(f"touch {tmp_path}/ran")
    assert not (tmp_path / "ran").exists()


def test_a_time_limit_kills_a_later_command_and_ends_the_shell(one: OneShell, tmp_path: Path) -> None:
    one.run("true")
    with pytest.raises(TimeLimitError, match="ended after"):
        one.run(f"echo $$ > {tmp_path}/pid; sleep 60", timeout=0.3)
    assert not one.shell.is_reusable
    pid = (tmp_path / "pid").read_text().strip()
    assert eventually(lambda: not Path(f"/proc/{pid}/cwd").exists())


def test_a_missing_folder_is_an_error_each_time(one: OneShell) -> None:
    one.run("true")
    with pytest.raises(UsageError, match="/no/such"):
        one.run("true", workdir="/no/such")


def test_the_outcome_is_unknown_if_the_shell_ends_during_a_later_command(one: OneShell) -> None:
    one.run("true")
    with pytest.raises(OutcomeUnknownError):
        one.run("kill -9 $(cut -d' ' -f4 /proc/$PPID/stat) $PPID $$")
