"""The promises of `exec`, all on one pod that runs anyway: bytes, streams, exit codes, time limits, the folder."""

from __future__ import annotations

import io
import os
import threading
import time

import pytest

from lfgpods import Command, Owner, TimeLimitError, UsageError
from lfgpods.hosts.run import run
from tests.contract.sites import Site
from tests.waiting import eventually


def running(site: Site, owner: Owner, mark: str) -> bool:
    """Whether a process with MARK in its command line is in the pod."""
    script = 'for f in /proc/[0-9]*/cmdline; do tr "\\0" " " < "$f"; echo; done 2>/dev/null | grep -c "$0"'
    return site.pods.exec(owner, Command(argv=("sh", "-c", script, f"[{mark[0]}]{mark[1:]}"))).stdout != b"0\n"


@pytest.mark.managed
def test_streams_stay_apart_and_the_exit_code_is_the_commands(site: Site, resident: Owner) -> None:
    result = site.pods.exec(resident, Command("printf out; printf err >&2; exit 7"))
    assert (result.exit_code, result.stdout, result.stderr) == (7, b"out", b"err")
    assert not result


@pytest.mark.parametrize("code", [0, 1, 125, 137, 255])
def test_every_exit_code_comes_through(site: Site, resident: Owner, code: int) -> None:
    assert site.pods.exec(resident, Command(f"exit {code}")).exit_code == code


def test_exit_codes_tell_a_killed_command_from_a_missing_one(site: Site, resident: Owner) -> None:
    site.require_isolation()
    assert site.pods.exec(resident, Command("kill -9 $$")).exit_code == 137
    assert site.pods.exec(resident, Command(argv=("no-such-program",))).exit_code == 127
    assert site.pods.exec(resident, Command(argv=("/workspace",))).exit_code == 126


def test_arguments_arrive_unchanged_and_unseen_by_the_hosts_shell(site: Site, resident: Owner) -> None:
    words = ("$(touch /tmp/lfgpods-contract)", "; exit 3", "a'b\"c\\", "*", "", "zwei\nzeilen", "ü€😀", "-n")
    result = site.pods.exec(resident, Command(argv=("sh", "-c", 'printf "%s|" "$@"', "sh", *words)))
    assert result.stdout.decode() == "".join(f"{word}|" for word in words)
    assert site.sh("[ -e /tmp/lfgpods-contract ]").exit_code == 1


def test_a_line_runs_in_the_pods_shell_not_in_the_hosts(site: Site, resident: Owner) -> None:
    site.require_isolation()
    pod = site.pods.status(resident).pod_name
    result = site.pods.exec(resident, Command("hostname; x=1; echo $((x + 1)) | cat"))
    assert result.stdout.decode() == f"{pod}\n2\n"


def test_bytes_pass_unchanged_in_both_directions(site: Site, resident: Owner) -> None:
    data = bytes(range(256)) * 400 + b"no newline at the end"
    result = site.pods.exec(resident, Command("cat; cat >&2 </dev/null"), stdin=io.BytesIO(data))
    assert result.stdout == data


def test_stdin_of_ten_megabytes_arrives_whole(site: Site, resident: Owner) -> None:
    data = os.urandom(1 << 20) * 10
    result = site.pods.exec(resident, Command("wc -c; md5sum < /dev/null"), stdin=io.BytesIO(data))
    assert result.stdout.split()[0] == str(len(data)).encode()


def test_fifty_megabytes_of_output_arrive_whole(site: Site, resident: Owner) -> None:
    size = 0

    def count(data: bytes) -> None:
        nonlocal size
        size += len(data)

    started = time.monotonic()
    site.pods.exec(resident, Command("head -c 50000000 /dev/zero"), on_stdout=count)
    assert size == 50_000_000
    assert time.monotonic() - started < 30


def test_output_comes_while_the_command_runs(site: Site, resident: Owner) -> None:
    came = threading.Event()

    class Answer:
        """Says something only after the command has spoken."""

        sent = False

        def read(self, size: int, /) -> bytes:
            assert came.wait(20)
            self.sent, before = True, self.sent
            return b"" if before else b"go\n"

    result = site.pods.exec(
        resident, Command("echo ready; read answer; echo $answer >&2"), stdin=Answer(), on_stdout=lambda _: came.set()
    )
    assert result.stderr == b"go\n"


def test_a_time_limit_kills_the_command_and_its_children(site: Site, resident: Owner) -> None:
    with pytest.raises(TimeLimitError) as ended:
        site.pods.exec(resident, Command("echo begun; sleep 77777 & sleep 77777"), timeout=1.0)
    assert ended.value.exit_code == 6
    assert ended.value.stdout == b"begun\n"
    assert eventually(lambda: not running(site, resident, "77777"))


def test_a_command_ends_when_its_caller_vanishes(site: Site, resident: Owner) -> None:
    begun = threading.Event()

    class LeavesEarlyError(Exception):
        pass

    def leave(data: bytes) -> None:
        begun.set()
        raise LeavesEarlyError

    with pytest.raises(LeavesEarlyError):
        site.pods.exec(resident, Command("echo begun; exec sleep 88888"), on_stdout=leave)
    assert begun.is_set()
    assert eventually(lambda: not running(site, resident, "88888"))


def test_a_command_starts_in_the_volume_or_in_its_workdir(site: Site, resident: Owner) -> None:
    site.require_isolation()
    assert site.pods.exec(resident, Command("pwd")).stdout == b"/workspace\n"
    assert site.pods.exec(resident, Command("pwd", workdir="/tmp")).stdout == b"/tmp\n"
    with pytest.raises(UsageError, match="no folder"):
        site.pods.exec(resident, Command("pwd", workdir="/no/such/folder"))


@pytest.mark.hostpath
def test_a_pod_writes_to_its_volume_and_nowhere_else_on_the_host(site: Site, resident: Owner) -> None:
    site.require_isolation()
    assert site.pods.status(resident).volume == site.folder(resident)
    name = f"lfgpods-contract-{resident.names.slug}"
    site.pods.exec(resident, Command(f"echo kept > /workspace/{name}; echo gone > /tmp/{name}; echo no > /root/{name}"))
    assert site.sh('cat "$1"', f"{site.folder(resident)}/{name}").stdout == b"kept\n"
    assert site.sh('[ -e "/tmp/$1" ] || [ -e "/root/$1" ]', name).exit_code == 1
    assert site.pods.exec(resident, Command(f"rm /workspace/{name} /tmp/{name}; rm -f /root/{name}"))


def test_a_pod_sees_only_its_own_processes(site: Site, resident: Owner) -> None:
    site.require_isolation()
    result = site.pods.exec(resident, Command("ls -d /proc/[0-9]* | wc -l; cat /proc/1/comm"))
    count, first = result.stdout.split()
    assert int(count) < 20
    assert first == b"sh"


def test_kubectls_exec_passes_codes_and_streams_on(site: Site, resident: Owner) -> None:
    pod, namespace = site.pods.status(resident).pod_name, resident.names.namespace
    words = ("exec", "-i", "-n", namespace, str(pod), "--", "sh", "-c", "cat; echo err >&2; exit 3")
    completed = run(site.host, (*site.settings.kubectl, *words), stdin=b"in")
    assert completed.exit_code == 3
    assert completed.stdout == b"in"
    assert completed.stderr == b"err\ncommand terminated with exit code 3\n"
