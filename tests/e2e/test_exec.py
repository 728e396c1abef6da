"""exec on the real thing: bytes, streams, exit codes, limits, and nothing on the host."""

from __future__ import annotations

import hashlib
import io
import os
import signal
import subprocess
import threading
from collections.abc import Callable

import pytest

from lfgpods import Command, OutcomeUnknownError, PodManager, Request, TimeLimitError
from lfgpods.core.owners import Owner
from tests.e2e.proxy import Proxy
from tests.lab import Lab, command_line
from tests.waiting import eventually

pytestmark = pytest.mark.real


@pytest.fixture(scope="module", params=["small", "project"])
def owner(request: pytest.FixtureRequest, lab: Lab, new_owner: Callable[[str], Owner]) -> Owner:
    """A running pod: once with busybox, once with Debian's shell and tools."""
    owner = new_owner(f"exec-{request.param}")
    with lab.manager() as manager:
        manager.ensure(owner, Request(image=getattr(lab.images, request.param)))
    return owner


def running(manager: PodManager, owner: Owner, mark: str) -> bool:
    """Whether a process with MARK in its command line runs in the pod."""
    line = f"cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' | grep -c '[{mark[0]}]{mark[1:]}'"
    return manager.exec(owner, Command(line)).stdout.strip() != b"0"


def test_a_shell_line_has_no_effect_outside_the_pod(lab: Lab, owner: Owner) -> None:
    line = "cd / && touch HOSTPROOF; $(touch HOSTPROOF2); echo `touch HOSTPROOF3` && ls / | grep -c HOSTPROOF"
    done = lab.lfgpods("exec", owner.option.split()[0], owner.id, "-c", line)
    assert done.stdout.split()[-1:] == [b"3"], done.stderr
    home = lab.on_host("sh", "-c", "ls -d /HOSTPROOF* ~/HOSTPROOF* /tmp/HOSTPROOF* HOSTPROOF* 2>/dev/null").stdout
    assert home == b""


def test_64_kib_of_command_text_arrive_intact(lab: Lab, owner: Owner) -> None:
    text = "".join(chr(33 + i % 90) for i in range(65536)).replace("'", " ")
    done = lab.lfgpods("exec", "--project-id", owner.id, "-c", f"printf %s '{text}'")
    assert done.stdout == text.encode()


def test_50_mb_of_binary_output_arrive_intact(lab: Lab, owner: Owner) -> None:
    with lab.manager() as manager:
        made = manager.exec(owner, Command("head -c 50000000 /dev/urandom > /tmp/random && sha256sum < /tmp/random"))
        assert made.exit_code == 0, made.stderr
        digest = hashlib.sha256()
        result = manager.exec(owner, Command("cat /tmp/random; rm /tmp/random"), on_stdout=digest.update)
    assert (result.exit_code, result.stderr) == (0, b"")
    assert digest.hexdigest() == made.stdout.split()[0].decode()


def test_10_mb_of_binary_stdin_arrive_intact(lab: Lab, owner: Owner) -> None:
    data = os.urandom(10_000_000)
    done = lab.lfgpods("exec", "--project-id", owner.id, "-i", "--", "sha256sum", stdin=data)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.split()[0].decode() == hashlib.sha256(data).hexdigest()


def test_stdout_and_stderr_stay_apart_and_the_exit_code_is_the_commands(lab: Lab, owner: Owner) -> None:
    line = "for i in 1 2 3; do echo out $i; echo err $i >&2; done; exit 42"
    done = lab.lfgpods("exec", "--project-id", owner.id, "-c", line)
    assert (done.returncode, done.stdout) == (42, b"out 1\nout 2\nout 3\n")
    assert done.stderr == b"err 1\nerr 2\nerr 3\n"


@pytest.mark.parametrize(
    ("line", "code"), [("true", 0), ("exit 255", 255), ("kill -9 $$", 137), ("nosuchprogram", 127)]
)
def test_every_exit_code_is_passed_on(lab: Lab, owner: Owner, line: str, code: int) -> None:
    with lab.manager() as manager:
        assert manager.exec(owner, Command(line)).exit_code == code


def test_arguments_are_passed_as_they_are(lab: Lab, owner: Owner) -> None:
    words = ["$(id)", "`id`", "a b", "", "-n", "é\n\\n", "'\"", "*", "${HOME}", "; exit 1", "\x1b[31m"]
    done = lab.lfgpods("exec", "--project-id", owner.id, "--", "printf", "%s|", *words)
    assert done.stdout.decode() == "".join(f"{word}|" for word in words)


def test_the_working_directory_is_the_volume_unless_another_is_named(lab: Lab, owner: Owner) -> None:
    with lab.manager() as manager:
        assert manager.exec(owner, Command("pwd")).stdout == b"/workspace\n"
        assert manager.exec(owner, Command(argv=("pwd",), workdir="/tmp")).stdout == b"/tmp\n"
    missing = lab.lfgpods("exec", "--project-id", owner.id, "--workdir", "/no/such", "-c", "pwd")
    assert (missing.returncode, missing.stdout) == (125, b"")
    assert b"/no/such" in missing.stderr


def test_a_command_without_stdin_sees_its_end_at_once(lab: Lab, owner: Owner) -> None:
    done = lab.lfgpods("exec", "--project-id", owner.id, "--timeout", "20", "-c", "cat; echo end", stdin=b"not for it")
    assert (done.returncode, done.stdout) == (0, b"end\n")


def test_output_comes_as_it_is_written(lab: Lab, owner: Owner) -> None:
    child = subprocess.Popen(
        command_line(["exec", "--project-id", owner.id, "-i", "-c", "echo first; read line; echo $line"]),
        env={**os.environ, **lab.environment}, cwd=lab.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdin is not None
    assert child.stdout.readline() == b"first\n"
    child.stdin.write(b"second\n")
    child.stdin.flush()
    assert child.stdout.readline() == b"second\n"
    child.communicate()
    assert child.returncode == 0


def test_a_time_limit_ends_the_whole_process_group(lab: Lab, owner: Owner) -> None:
    with lab.manager() as manager:
        line = "echo started; (trap '' TERM; sleep 7771) & sleep 7772; echo no"
        with pytest.raises(TimeLimitError) as limit:
            manager.exec(owner, Command(line), timeout=1)
        assert limit.value.stdout == b"started\n"
        assert not running(manager, owner, "sleep 777")
    done = lab.lfgpods("exec", "--project-id", owner.id, "--timeout", "0.5", "-c", "echo partial; sleep 60")
    assert (done.returncode, done.stdout) == (125, b"partial\n")
    assert b"ended after 0.5 s" in done.stderr


def test_a_command_ends_with_its_caller(lab: Lab, owner: Owner) -> None:
    child = subprocess.Popen(
        command_line(["exec", "--project-id", owner.id, "-c", "echo up; sleep 8881"]),
        env={**os.environ, **lab.environment}, cwd=lab.folder, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    assert child.stdout.readline() == b"up\n"
    child.send_signal(signal.SIGKILL)
    child.communicate()
    with lab.manager() as manager:
        eventually(lambda: not running(manager, owner, "sleep 8881"))


def test_a_cut_link_is_no_success_and_ends_the_command(lab: Lab, owner: Owner, proxy: Proxy) -> None:
    with lab.manager(**proxy.settings) as manager:
        with pytest.raises(OutcomeUnknownError) as unknown:
            manager.exec(owner, Command("echo up; sleep 9991; echo no"), on_stdout=lambda _: proxy.cut())
        assert "may have run" in unknown.value.hint
        eventually(lambda: not running(manager, owner, "sleep 9991"))


def test_truncated_stdin_is_never_taken_for_the_whole(lab: Lab, owner: Owner, proxy: Proxy) -> None:
    arrived = threading.Event()

    class CutAfterTheFirstPart(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell():
                assert arrived.wait(20)
                proxy.cut()
            return super().read(1000)

    line = "rm -f done; head -c 1000; cat > part; echo complete > done"
    with lab.manager(**proxy.settings) as manager:
        stdin = CutAfterTheFirstPart(b"x" * 5000)
        with pytest.raises(OutcomeUnknownError):
            manager.exec(owner, Command(line), stdin=stdin, on_stdout=lambda _: arrived.set())
        eventually(lambda: not running(manager, owner, "cat > part"))
        assert manager.exec(owner, Command("cat part; test ! -e done")).exit_code == 0


def test_the_host_shows_no_part_of_the_command(lab: Lab, owner: Owner) -> None:
    seen = []
    with lab.manager() as manager:
        manager.exec(
            owner,
            Command("echo up; : s3cr3t-w0rd; read line", workdir="/tmp"),
            stdin=io.BytesIO(b"go\n"),
            on_stdout=lambda _: seen.append(
                lab.on_host("sh", "-c", "cat /proc/[0-9]*/cmdline | grep -c s3cr3t-w0[r]d")
            ),
        )
    assert [one.stdout for one in seen] == [b"0\n"]


def test_an_exec_on_a_replaced_pod_finds_the_new_one(lab: Lab, owner: Owner) -> None:
    namespace = owner.names.namespace
    with lab.manager() as manager:
        before = manager.status(owner).pod_name
        lab.kubectl("delete", f"pod/{before}", "-n", namespace, "--wait=false")
        eventually(lambda: manager.status(owner).pod_name != before and manager.status(owner).status == "running")
    with lab.manager() as other:
        assert other.exec(owner, Command("echo here")).stdout == b"here\n"
