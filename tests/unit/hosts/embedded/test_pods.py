"""Pods as processes: they outlive the process that creates them, end completely, and allow concurrent creates."""

from __future__ import annotations

import io
import json
import logging
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from lfgpods import Command, Owner, Request, State
from lfgpods.hosts.embedded.sandbox import container
from lfgpods.hosts.embedded.sandbox.processes import processes_with
from lfgpods.hosts.run import run
from lfgpods.testing import EmbeddedLfgpods, embedded_host
from tests.waiting import eventually

OWNER = Owner.project("a")
needs_sandboxes = pytest.mark.skipif(not container.isolates(), reason="bubblewrap does not work on this machine")


def unique_seconds() -> str:
    """A number for `sleep` that identifies one process."""
    return str(10**8 + secrets.randbelow(10**8))


def pids_of(word: str) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (folder / "cmdline").read_bytes() and int(folder.name) != os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


@pytest.fixture(params=["sandbox", "plain"])
def either(
    request: pytest.FixtureRequest, embedded: EmbeddedLfgpods, monkeypatch: pytest.MonkeyPatch
) -> EmbeddedLfgpods:
    """An embedded host, once with and once without bubblewrap."""
    if request.param == "sandbox" and not container.isolates():
        pytest.skip("bubblewrap does not work on this machine")
    if request.param == "plain":
        monkeypatch.setattr(container, "isolates", lambda: False)
    return embedded


def test_a_pod_is_created_used_deleted_and_brought_back_with_its_data(either: EmbeddedLfgpods) -> None:
    pods = either.pods
    pod = pods.ensure(OWNER)
    assert pod.status is State.RUNNING
    assert pods.ensure(OWNER).pod_name == pod.pod_name
    result = pods.exec(OWNER, Command("cat > file; echo err >&2; exit 7"), stdin=io.BytesIO(b"\0\xff" * 5000))
    assert (result.exit_code, result.stdout, result.stderr) == (7, b"", b"err\n")
    assert Path(pod.volume, "file").read_bytes() == b"\0\xff" * 5000
    pods.delete(OWNER)
    assert pods.status(OWNER).status is State.DELETED
    pods.ensure(OWNER)
    assert pods.exec(OWNER, Command("cat file")).stdout == b"\0\xff" * 5000
    pods.delete(OWNER, purge=True)
    assert not Path(pod.volume).exists()


def test_a_deleted_pod_leaves_no_processes(either: EmbeddedLfgpods) -> None:
    quiet, deaf = unique_seconds(), unique_seconds()
    either.pods.ensure(OWNER)
    either.pods.exec(
        OWNER, Command(f"(sleep {quiet} >/dev/null 2>&1 &) ; (trap '' TERM; exec sleep {deaf}) >/dev/null 2>&1 &")
    )
    assert eventually(lambda: pids_of(deaf))
    name = json.loads(run(either.host, ("kubectl", "get", "pods", "-n", "proj-a", "-o", "json")).stdout)
    pod = name["items"][0]["metadata"]["name"]
    run(either.host, ("kubectl", "delete", "pod", pod, "-n", "proj-a", "--grace-period=1"))
    assert eventually(lambda: not pids_of(quiet) and not pids_of(deaf))


def test_a_killed_container_is_restarted(either: EmbeddedLfgpods) -> None:
    pod = either.pods.ensure(OWNER)
    folder = next((either.host.folder / "pods").glob("*/0"))
    os.kill(json.loads((folder / "identity.json").read_text())["pid"], 9)

    def restarts() -> int:
        found = run(either.host, ("kubectl", "get", f"pod/{pod.pod_name}", "-n", "proj-a", "-o", "json"))
        statuses = json.loads(found.stdout)["status"]["containerStatuses"]
        return int(statuses[0]["restartCount"]) if statuses[0]["ready"] else 0

    assert eventually(restarts) == 1
    assert either.pods.exec(OWNER, Command("true"))


def test_a_container_is_found_again_if_its_starter_died_before_saving_the_identity(either: EmbeddedLfgpods) -> None:
    either.pods.ensure(OWNER)
    noted = next((either.host.folder / "pods").glob("*/0/identity.json"))
    before = noted.read_text()
    noted.unlink()
    assert either.pods.exec(OWNER, Command("true"))
    assert noted.read_text() == before


def test_without_bubblewrap_a_warning_says_that_nothing_is_isolated(
    embedded: EmbeddedLfgpods, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(container, "isolates", lambda: False)
    container._warn_not_isolated.cache_clear()
    with caplog.at_level(logging.WARNING, logger="lfgpods"):
        embedded.pods.ensure(OWNER)
        embedded.pods.ensure(Owner.project("b"))
    assert [record.name for record in caplog.records] == ["lfgpods"]
    assert "Nothing isolates them" in caplog.text


@needs_sandboxes
def test_a_sandbox_can_write_only_to_its_volume_on_the_machine(embedded: EmbeddedLfgpods) -> None:
    embedded.pods.ensure(OWNER)
    for path in ("/", "/usr", "/etc", "/opt", "/sys", "/proc/sys/vm", "/mnt", "/var/lib"):
        result = embedded.pods.exec(OWNER, Command(f"touch {path}/lfgpods-was-here"))
        assert result.exit_code == 1, path
    script = (
        "echo 61 > /proc/sys/vm/swappiness; mount -o remount,rw /usr; umount /proc/sys; echo b > /proc/sysrq-trigger"
    )
    before = Path("/proc/sys/vm/swappiness").read_text()
    embedded.pods.exec(OWNER, Command(script))
    assert Path("/proc/sys/vm/swappiness").read_text() == before
    capabilities = embedded.pods.exec(
        OWNER, Command("grep -hE '^Cap(Prm|Eff)' /proc/self/status /proc/1/status")
    ).stdout.split()
    assert set(capabilities[1::2]) == {b"0" * 16}
    hidden = embedded.pods.exec(OWNER, Command(f"ls /root /home /tmp {embedded.host.folder}"))
    assert b"objects.db" not in hidden.stdout


@needs_sandboxes
def test_the_memory_limit_applies_to_each_process(embedded: EmbeddedLfgpods) -> None:
    embedded.pods.ensure(OWNER, Request(memory="64Mi", memory_requests="16Mi"))
    result = embedded.pods.exec(OWNER, Command("head -c 200000000 /dev/zero | tail -c 150000000 | wc -c"))
    assert b"memory exhausted" in result.stderr
    assert embedded.pods.exec(OWNER, Command("seq 100000 | sort | tail -1")).stdout == b"99999\n"


def test_concurrent_creates_make_one_pod_that_outlives_them(embedded: EmbeddedLfgpods) -> None:
    script = "from lfgpods import *\nwith PodManager() as m: print(m.ensure(Owner.project('a')).pod_name)"
    environment = {**os.environ, **embedded.environment}
    makers = [
        subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    names = {maker.communicate(timeout=60)[0].strip() for maker in makers}
    assert [maker.returncode for maker in makers] == [0, 0, 0, 0]
    assert names == {embedded.pods.status(OWNER).pod_name}
    assert embedded.pods.exec(OWNER, Command("true"))


@pytest.mark.parametrize("isolated", [True, False])
def test_shutting_down_an_embedded_host_leaves_no_process_and_no_file(
    isolated: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not isolated:
        monkeypatch.setattr(container, "isolates", lambda: False)
    seconds = unique_seconds()
    with embedded_host() as embedded:
        embedded.pods.ensure(OWNER)
        embedded.pods.exec(OWNER, Command(f"sleep {seconds} >/dev/null 2>&1 &"))
        folder = embedded.host.folder
        assert eventually(lambda: pids_of(seconds))
        folders = [path.parent for path in folder.glob("pods/*/*/identity.json")]
    assert [process for one in folders for process in processes_with(f"{container.MARKER}={one}")] == []
    assert eventually(lambda: not pids_of(seconds))
    assert not folder.exists()
    assert not folder.parent.exists()
