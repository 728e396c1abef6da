"""Connections to real SSH servers: how many there are, and what a silent peer costs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from lfgpods.core.errors import HostError
from lfgpods.hosts.run import run
from lfgpods.hosts.ssh import SshHost, connection, heartbeat, pool
from tests.e2e.sshd import ECHO, Sshd, Throttle, behind, new_key, opened, public, refused, settings
from tests.waiting import eventually

pytestmark = pytest.mark.real

NOTICED_WITHIN = 15.0


# How many


def test_one_caller_needs_one_connection(home: Path, key: Path, sshd: Sshd) -> None:
    with opened(settings(home, sshd, key_file=key)) as host:
        for _ in range(30):
            run(host, ECHO)
        assert sshd.logins == 1
        with ThreadPoolExecutor(pool.CHANNELS) as threads:
            list(threads.map(lambda _: run(host, ECHO), range(20)))
        assert sshd.logins == 1


def ask_many(host: SshHost, threads: int, commands: int) -> None:
    """Many threads ask at once, and every one gets its own answers."""
    barrier = threading.Barrier(threads)

    def ask(thread: int) -> None:
        barrier.wait(20)
        for number in range(commands):
            done = run(host, ["sh", "-c", "echo $0; echo $0 >&2; exit $1", f"{thread}/{number}", str(thread)])
            assert (done.stdout, done.stderr) == (f"{thread}/{number}\n".encode(),) * 2
            assert done.exit_code == thread

    with ThreadPoolExecutor(threads) as workers:
        list(workers.map(ask, range(threads)))


@pytest.mark.parametrize(
    "limits",
    [{}, {"MaxSessions": "1"}, {"MaxSessions": "2"}, {"MaxStartups": "1"}],
    ids=["usual", "one session", "two sessions", "one login at a time"],
)
def test_many_threads_share_few_connections(home: Path, key: Path, limits: dict[str, str]) -> None:
    with Sshd(home / "sshd", key, **limits) as sshd:
        (home / ".ssh" / "known_hosts").write_text(sshd.known)
        with opened(settings(home, sshd, key_file=key)) as host:
            ask_many(host, threads=40, commands=4)
            assert sshd.logins <= pool.CONNECTIONS
            before = sshd.logins
        with opened(settings(home, sshd, key_file=key)) as alone:
            for _ in range(20):
                run(alone, ECHO)
            assert sshd.logins == before + 1


def test_abandoned_commands_that_still_write_disturb_no_others(home: Path, key: Path, sshd: Sshd) -> None:
    def leave(_: int) -> None:
        with closing(host.open(["sh", "-c", "while :; do echo more; done"])) as process:
            process.read(5)

    with opened(settings(home, sshd, key_file=key)) as host:
        run(host, ECHO)
        with ThreadPoolExecutor(pool.CHANNELS) as threads:
            list(threads.map(leave, range(400)))
        assert sshd.logins == 1


def test_a_server_without_sessions_says_so(home: Path, key: Path) -> None:
    with Sshd(home / "sshd", key, MaxSessions="0") as sshd:
        (home / ".ssh" / "known_hosts").write_text(sshd.known)
        assert "MaxSessions" in refused(settings(home, sshd, key_file=key)).hint


def test_a_caller_waits_for_a_free_channel_and_then_gets_a_busy_error(
    home: Path, key: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(settings(home, sshd, key_file=key)) as host, ThreadPoolExecutor(1) as thread:
        running = [host.open(["cat"]) for _ in range(pool.CONNECTIONS * pool.CHANNELS)]
        assert sshd.logins == pool.CONNECTIONS
        with monkeypatch.context() as patch:
            patch.setattr(pool, "QUEUE_TIMEOUT", 0.5)
            with pytest.raises(HostError) as busy:
                run(host, ECHO)
        assert busy.value.code == "busy"
        waiting = thread.submit(run, host, ECHO)
        assert not waiting.done()
        running.pop().close()
        assert waiting.result(20).stdout == b"hello\n"
        assert sshd.logins == pool.CONNECTIONS
        for process in running:
            process.close()


def test_a_failed_login_fails_for_every_caller_that_waited_for_it(home: Path, key: Path, sshd: Sshd) -> None:
    stranger = settings(home, sshd, key_file=new_key(home / "keys" / "stranger"))
    with opened(stranger) as host, ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(run, host, ECHO) for _ in range(20)]
        errors = [one.exception(60) for one in asked]
    assert {error.code for error in errors if isinstance(error, HostError)} == {"login_refused"}
    assert len(errors) == 20


# Silence


@pytest.fixture
def noticed_within(monkeypatch: pytest.MonkeyPatch) -> float:
    """The limit for noticing a silent peer, with heartbeats at a fifth of their time: what is not beats is the same."""
    whole = heartbeat.HEARTBEAT_INTERVAL * (heartbeat.MAX_SILENT_HEARTBEATS + 1)
    monkeypatch.setattr(heartbeat, "HEARTBEAT_INTERVAL", heartbeat.HEARTBEAT_INTERVAL / 5)
    return NOTICED_WITHIN - whole * 4 / 5


def how_long(step: Callable[[], object]) -> float:
    start = time.monotonic()
    step()
    return time.monotonic() - start


def test_a_peer_that_accepts_and_never_speaks(home: Path, key: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        nobody = settings(home, port=mute.getsockname()[1], key_file=key)
        assert how_long(lambda: refused(nobody)) < NOTICED_WITHIN


def ends_unknown(host: SshHost, *argv: str) -> Callable[[], None]:
    """A command that is under way; the function waits until it is noticed that nobody knows how it ended."""
    process = host.open(argv)
    eventually(lambda: process.read(1).stdout == b"begun\n")

    def wait() -> None:
        deadline = time.monotonic() + 30
        while not process.read(1).ended:
            assert time.monotonic() < deadline
        assert process.exit_code is None
        process.close()

    return wait


RUNS = ("sh", "-c", "echo begun; exec sleep 600")


def test_a_frozen_peer_is_noticed_and_dropped(home: Path, key: Path, sshd: Sshd) -> None:
    with opened(settings(home, sshd, key_file=key)) as host:
        wait = ends_unknown(host, *RUNS)
        sshd.freeze()
        assert how_long(wait) < NOTICED_WITHIN
        assert run(host, ECHO).stdout == b"hello\n"
        assert sshd.logins == 2


def test_a_command_on_a_frozen_connection_reports_a_lost_host(
    home: Path, key: Path, sshd: Sshd, noticed_within: float
) -> None:
    with opened(settings(home, sshd, key_file=key)) as host:
        run(host, ECHO)
        sshd.freeze()

        def fail() -> None:
            with pytest.raises(HostError) as lost:
                run(host, ECHO)
            assert lost.value.code in ("host_lost", "host_unreachable")

        assert how_long(fail) < noticed_within
        assert run(host, ECHO).stdout == b"hello\n"


def test_an_upload_to_a_peer_that_freezes_ends(home: Path, key: Path, sshd: Sshd, noticed_within: float) -> None:
    with opened(settings(home, sshd, key_file=key)) as host:
        process = host.open(["sh", "-c", "echo begun; cat >/dev/null"])
        eventually(lambda: process.read(1).stdout == b"begun\n")
        process.write(b"x" * 1_000_000)
        sshd.freeze()

        def upload() -> None:
            while True:
                process.write(b"x" * 1_000_000)

        start = time.monotonic()
        with pytest.raises(BrokenPipeError):
            upload()
        assert time.monotonic() - start < noticed_within
        assert process.read(5).ended
        assert process.exit_code is None
        process.close()


@pytest.mark.parametrize("which", ["gateway", "target"])
def test_either_end_of_a_proxy_jump_that_freezes_is_noticed(
    home: Path, key: Path, sshd: Sshd, which: str, noticed_within: float
) -> None:
    with behind(home, key, sshd) as gateway, opened(settings(home, host="kube", key_file=key)) as host:
        wait = ends_unknown(host, *RUNS)
        (gateway if which == "gateway" else sshd).freeze()
        assert how_long(wait) < noticed_within
        assert run(host, ECHO).stdout == b"hello\n"


def test_a_quiet_command_and_a_slow_upload_are_not_taken_for_silence(
    home: Path, key: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a fifth of the real beat: an upload that takes several times as long as silence may."""
    monkeypatch.setattr(heartbeat, "HEARTBEAT_INTERVAL", heartbeat.HEARTBEAT_INTERVAL / 5)
    patience = heartbeat.HEARTBEAT_INTERVAL * (heartbeat.MAX_SILENT_HEARTBEATS + 1)
    with Throttle(sshd.port, rate=200_000) as throttle:
        (home / ".ssh" / "known_hosts").write_text(f"[127.0.0.1]:{throttle.port} {public(sshd.host_key)}\n")
        slow = replace(settings(home, sshd, key_file=key), port=throttle.port)
        with opened(slow) as host:
            quiet = run(host, ["sh", "-c", f"sleep {2 * patience}; echo done"])
            assert quiet.stdout == b"done\n"
            sent = bytes(1_500_000)
            assert how_long(lambda: run(host, ["sh", "-c", "wc -c"], stdin=sent)) > 2 * patience
            assert sshd.logins == 1


def test_a_closed_connection_leaves_no_thread(home: Path, key: Path, sshd: Sshd) -> None:
    before = threading.active_count()
    with opened(settings(home, sshd, key_file=key)) as host:
        run(host, ECHO)
        assert threading.active_count() == before + 2
    eventually(lambda: threading.active_count() == before, within=connection.CONNECT_TIMEOUT)
