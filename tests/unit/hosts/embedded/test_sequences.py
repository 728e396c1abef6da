"""Several commands in one round trip: one after the other on the same streams, or beside those."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from lfgpods.hosts.base import Host
from lfgpods.hosts.local import LocalHost
from lfgpods.hosts.run import run
from lfgpods.testing import EmbeddedLfgpods
from tests.waiting import eventually

SAY = ("sh", "-c", 'printf "%b" "$1"; printf err >&2; exit "$2"', "sh")
NAMESPACE = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}).encode()
CREATE = ("kubectl", "create", "-f", "-")
GET = ("kubectl", "get", "namespace/a", "-o", "name")


def test_each_runs_after_the_one_before_and_stdin_goes_to_the_first_that_reads_it(embedded: EmbeddedLfgpods) -> None:
    done = run(embedded.host, GET, after=[(*SAY, "one\n", "0"), CREATE], stdin=NAMESPACE)
    assert (done.exit_code, done.stderr) == (0, b"err")
    assert done.stdout == b"one\nnamespace/a created\nnamespace/a\n"
    again = run(embedded.host, CREATE, after=[("kubectl", "apply", "-f", "-")], stdin=NAMESPACE)
    assert again.stdout == b"namespace/a unchanged\n"
    assert again.stderr == b"error: no objects passed to create\n"


def test_bytes_that_are_no_text_come_through(embedded: EmbeddedLfgpods) -> None:
    done = run(embedded.host, ("kubectl", "version"), after=[(*SAY, r"\0377\0000\0342", "0")])
    assert done.stdout.startswith(b"\xff\x00\xe2Client Version")


def test_a_command_of_the_machine_reads_no_stdin(embedded: EmbeddedLfgpods) -> None:
    done = run(embedded.host, CREATE, after=[("cat",)], stdin=NAMESPACE)
    assert done.stdout == b"namespace/a created\n"


@pytest.mark.parametrize(
    ("first", "code", "stderr"),
    [
        ((*SAY, "", "3"), 3, b"err"),
        (("sh", "-c", "kill -9 $$"), 137, b""),
        (("no-such-program-at-all",), 127, b"no-such-program-at-all: not found\n"),
        (("kubectl", "get", "pod/x"), 1, b'Error from server (NotFound): pods "x" not found\n'),
        (("kubectl", "get", "--nonsense"), 1, b"error: unknown flag: --nonsense\n"),
    ],
)
def test_the_first_other_exit_code_ends_them_all(
    embedded: EmbeddedLfgpods, first: tuple[str, ...], code: int, stderr: bytes
) -> None:
    done = run(embedded.host, ("kubectl", "version"), after=[first])
    assert (done.exit_code, done.stdout, done.stderr) == (code, b"", stderr)


@pytest.fixture(params=["embedded", "local"])
def host(request: pytest.FixtureRequest, embedded: EmbeddedLfgpods) -> Host:
    return embedded.host if request.param == "embedded" else LocalHost()


def test_what_runs_beside_the_others_is_told_after_them_and_its_troubles_are_not(host: Host) -> None:
    beside = [(*SAY, "three\n", "5"), ("no-such-program-at-all",), ("cat",), (*SAY, "four\n", "0")]
    done = run(host, ("cat",), after=[(*SAY, "one\n", "0")], beside=beside, stdin=b"two\n")
    assert (done.exit_code, done.stderr) == (0, b"err")
    assert done.stdout == (b"one\ntwo\nthree\nfour\n" if isinstance(host, LocalHost) else b"one\nthree\nfour\n")


def test_what_runs_beside_others_that_fail_is_not_told(host: Host) -> None:
    done = run(host, ("true",), after=[(*SAY, "one\n", "6")], beside=[(*SAY, "two\n", "0")])
    assert (done.exit_code, done.stdout, done.stderr) == (6, b"one\n", b"err")


def test_what_runs_beside_the_others_may_write_more_than_fits_into_a_pipe(host: Host) -> None:
    done = run(host, ("echo", "one"), beside=[("sh", "-c", "yes | head -c 300000")])
    assert (done.exit_code, done.stdout) == (0, b"one\n" + b"y\n" * 150_000)


def test_what_runs_beside_the_others_runs_at_the_same_time(tmp_path: Path) -> None:
    meet = ("sh", "-c", f"for n in $(seq 100); do [ -e {tmp_path}/there ] && exit; sleep 0.1; done; exit 1")
    done = run(LocalHost(), meet, beside=[("touch", str(tmp_path / "there"))])
    assert done.exit_code == 0


def test_kubectl_can_be_what_runs_beside_others(embedded: EmbeddedLfgpods) -> None:
    done = run(embedded.host, CREATE, beside=[GET], stdin=NAMESPACE)
    assert (done.exit_code, done.stdout) == (0, b"namespace/a created\nnamespace/a\n")


def test_without_kubectl_they_run_on_this_machine(embedded: EmbeddedLfgpods) -> None:
    done = run(embedded.host, ("cat",), after=[(*SAY, "one\n", "0")], stdin=b"two\n")
    assert (done.exit_code, done.stdout) == (0, b"one\ntwo\n")


def test_the_last_may_be_of_the_machine(embedded: EmbeddedLfgpods) -> None:
    done = run(embedded.host, (*SAY, "two\n", "4"), after=[CREATE], stdin=NAMESPACE)
    assert (done.exit_code, done.stdout) == (4, b"namespace/a created\ntwo\n")


def test_exec_is_no_part_of_one(embedded: EmbeddedLfgpods) -> None:
    done = run(embedded.host, ("kubectl", "exec", "-i", "pod", "--", "true"), after=[("true",)])
    assert (done.exit_code, done.stdout) == (1, b"")
    assert b"takes exec by itself only" in done.stderr


def test_one_that_runs_ends_when_nobody_waits_any_more(embedded: EmbeddedLfgpods, tmp_path: Path) -> None:
    script = f"echo $$ > {tmp_path}/pid; exec sleep 100"
    process = embedded.host.open(("kubectl", "version"), after=[("sh", "-c", script)], ends_with_us=True)
    assert process.read(0).ended is False
    pid = str(eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip()))
    closing = threading.Thread(target=process.close)
    closing.start()
    closing.join(5)
    assert not closing.is_alive()
    assert not Path("/proc", pid).exists()


def test_what_is_done_meanwhile_is_done_while_the_command_runs_with_all_of_its_input(tmp_path: Path) -> None:
    script = 'line=$(cat); echo "$line" >"$1/taken"; while [ ! -e "$1/done" ]; do sleep 0.01; done; echo "$line"'

    def meanwhile() -> None:
        eventually(lambda: (tmp_path / "taken").exists() and (tmp_path / "taken").read_text() == "input\n")
        (tmp_path / "done").touch()

    argv = ("sh", "-c", script, "sh", str(tmp_path))
    done = run(LocalHost(), argv, stdin=b"input", meanwhile=meanwhile, timeout=20.0)
    assert (done.exit_code, done.stdout) == (0, b"input\n")
