"""Connections to real SSH servers: how we log in, how many connections there are, and what a silent peer costs."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from lfgpods.errors import HostError
from lfgpods.hosts import run
from lfgpods.hosts.ssh import SshHost, connection, line, pool
from lfgpods.settings import SshSettings
from tests.e2e.sshd import Agent, Sshd, Throttle, new_key, public
from tests.waiting import eventually

pytestmark = pytest.mark.real

NOTICED_WITHIN = 15.0
ECHO = ("echo", "hello")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own; nothing of the machine's ~/.ssh or agent is seen."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture
def key(home: Path) -> Path:
    return new_key(home / "keys" / "mine")


@pytest.fixture
def sshd(home: Path, key: Path) -> Iterator[Sshd]:
    with Sshd(home / "sshd", key) as sshd:
        (home / ".ssh" / "known_hosts").write_text(sshd.known)
        yield sshd


def settings(home: Path, sshd: Sshd | None = None, **given: object) -> SshSettings:
    values: dict[str, object] = {
        "host": "127.0.0.1", "port": sshd and sshd.port, "username": None, "key_file": None, "key_string": None,
        "key_passphrase": None, "known_hosts": None, "accept_new_host_keys": False, "accepted_host_keys": home / "own",
    }  # fmt: skip
    return SshSettings(**{**values, **given})  # type: ignore[arg-type]


@contextmanager
def opened(settings: SshSettings) -> Iterator[SshHost]:
    host = SshHost(settings)
    try:
        yield host
    finally:
        host.close()


def logs_in(settings: SshSettings) -> None:
    with opened(settings) as host:
        assert run(host, ECHO).stdout == b"hello\n"


def refused(settings: SshSettings) -> HostError:
    with opened(settings) as host, pytest.raises(HostError) as error:
        run(host, ECHO)
    assert error.value.hint
    return error.value


# Logging in


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_key_of_every_usual_kind(home: Path, kind: str) -> None:
    mine = new_key(home / "keys" / "mine", kind)
    with Sshd(home / "sshd", mine) as sshd:
        (home / ".ssh" / "known_hosts").write_text(sshd.known)
        logs_in(settings(home, sshd, key_file=mine))
        logs_in(settings(home, sshd, key_string=mine.read_text()))
        mine.rename(home / ".ssh" / f"id_{kind}")
        logs_in(settings(home, sshd))
        stranger = new_key(home / "keys" / "stranger")
        assert refused(settings(home, sshd, key_file=stranger)).code == "login_refused"


def test_an_agent(home: Path, key: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refused(settings(home, sshd)).code == "login_refused"
    with Agent(home / "agent", key) as agent, monkeypatch.context() as patch:
        patch.setenv("SSH_AUTH_SOCK", str(agent.socket_path))
        logs_in(settings(home, sshd))
    assert refused(settings(home, sshd)).code == "login_refused"


@pytest.fixture
def certified(home: Path, key: Path) -> Iterator[tuple[Sshd, Path]]:
    """A server that knows no key but that of an authority, and the certificate that this one gave to KEY."""
    authority = new_key(home / "keys" / "authority")
    subprocess.run(["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", "root", f"{key}.pub"], check=True)
    with Sshd(home / "sshd", TrustedUserCAKeys=f"{authority}.pub") as sshd:
        (home / ".ssh" / "known_hosts").write_text(sshd.known)
        yield sshd, Path(f"{key}-cert.pub")


def test_a_certificate(home: Path, key: Path, certified: tuple[Sshd, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    sshd, certificate = certified
    logs_in(settings(home, sshd, key_file=key))
    with Agent(home / "agent", key) as agent, monkeypatch.context() as patch:
        patch.setenv("SSH_AUTH_SOCK", str(agent.socket_path))
        logs_in(settings(home, sshd))
    elsewhere = certificate.rename(home / "elsewhere.pub")
    assert refused(settings(home, sshd, key_file=key)).code == "login_refused"
    config = home / ".ssh" / "config"
    config.write_text(f"IdentityFile {new_key(home / 'keys' / 'other')}\nIdentityFile {key}\n")
    assert refused(settings(home, sshd)).code == "login_refused"
    config.write_text(config.read_text() + f"CertificateFile {elsewhere}\n")
    logs_in(settings(home, sshd))
    config.write_text(config.read_text().replace(str(elsewhere), "~/elsewhere.pub"))
    logs_in(settings(home, sshd))


def test_what_ssh_config_says_of_a_host(home: Path, key: Path, sshd: Sshd) -> None:
    config = home / ".ssh" / "config"
    text = f"Host kube\n  HostName 127.0.0.1\n  Port {sshd.port}\n  IdentityFile ~/keys/mine\n"
    config.write_text(text)
    logs_in(settings(home, host="kube"))
    config.write_text(text + "  User somebody\n")
    assert "somebody" in refused(settings(home, host="kube")).message
    assert "Invalid user somebody" in sshd.log
    logs_in(settings(home, host="kube", username="root"))
    config.write_text(text.replace("keys/mine", "keys/none"))
    assert refused(settings(home, host="kube")).code == "login_refused"
    config.write_text(text.replace(str(sshd.port), "many"))
    assert refused(settings(home, host="kube")).code == "ssh_config"


def test_the_files_that_ssh_config_includes(home: Path, sshd: Sshd) -> None:
    folder = home / ".ssh"
    (folder / "config").write_text("Include conf.d/*.conf ~/more none\nHost *\n  Port 9\n  HostName 192.0.2.1\n")
    (folder / "conf.d").mkdir()
    (folder / "conf.d" / "b.conf").write_text(f"Host kube\n  Port {sshd.port}\n  IdentityFile ~/keys/mine\n")
    (folder / "conf.d" / "a.conf").write_text("Host other\n  Port 8\n")
    (home / "more").write_text("Host kube\n  HostName 127.0.0.1\n  Port 7\n")
    logs_in(settings(home, host="kube"))


# Through another host


@contextmanager
def behind(home: Path, key: Path, target: Sshd, config: str = "") -> Iterator[Sshd]:
    """A second server, and an ssh_config that reaches TARGET as `kube` only through it."""
    with Sshd(home / "gateway", key) as gateway:
        (home / ".ssh" / "config").write_text(
            f"Host kube\n  HostName 127.0.0.1\n  Port {target.port}\n  ProxyJump gateway\n"
            f"Host gateway\n  HostName 127.0.0.1\n  Port {gateway.port}\n{config}"
        )
        (home / ".ssh" / "known_hosts").write_text(target.known + gateway.known)
        yield gateway


def test_a_proxy_jump(home: Path, key: Path, sshd: Sshd) -> None:
    kube = settings(home, host="kube", key_file=key)
    with behind(home, key, sshd) as gateway:
        logs_in(kube)
        assert (gateway.logins, sshd.logins) == (1, 1)
        logs_in(settings(home, host="gateway", key_file=key))
        assert (gateway.logins, sshd.logins) == (2, 1)


@pytest.mark.parametrize("changed", [False, True], ids=["unknown", "changed"])
@pytest.mark.parametrize("which", ["gateway", "target"])
def test_both_host_keys_of_a_proxy_jump_are_checked(
    home: Path, key: Path, sshd: Sshd, which: str, changed: bool
) -> None:
    with behind(home, key, sshd) as gateway:
        good, bad = (sshd, gateway) if which == "gateway" else (gateway, sshd)
        other = public(new_key(home / "keys" / "other"))
        line = f"[127.0.0.1]:{bad.port} {other}\n" if changed else ""
        (home / ".ssh" / "known_hosts").write_text(good.known + line)
        error = refused(settings(home, host="kube", key_file=key))
        assert error.code == ("host_key_changed" if changed else "host_key_unknown")
        assert str(bad.port) in error.message + error.hint
        assert sshd.logins == 0
        assert gateway.logins == (which == "target")


def test_a_gateway_that_refuses_is_told_from_the_host_behind_it(home: Path, key: Path, sshd: Sshd) -> None:
    kube = settings(home, host="kube", key_file=key)
    with behind(home, key, sshd, "  User nobody-here\n") as gateway:
        error = refused(kube)
        assert error.code == "login_refused"
        assert f"127.0.0.1:{gateway.port} does not accept the login of nobody-here" in error.message
    with Sshd(home / "closed", key, AllowTcpForwarding="no") as closed:
        config = home / ".ssh" / "config"
        config.write_text(f"Host kube\n  HostName 127.0.0.1\n  ProxyJump 127.0.0.1:{closed.port}\n")
        (home / ".ssh" / "known_hosts").write_text(closed.known)
        assert refused(kube).code == "host_unreachable"


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


def test_commands_that_are_left_while_they_speak_disturb_nobody(home: Path, key: Path, sshd: Sshd) -> None:
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


def test_who_finds_everything_taken_waits_and_is_told_busy_in_the_end(
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


def test_a_login_that_fails_fails_for_all_who_waited_for_it(home: Path, key: Path, sshd: Sshd) -> None:
    stranger = settings(home, sshd, key_file=new_key(home / "keys" / "stranger"))
    with opened(stranger) as host, ThreadPoolExecutor(20) as threads:
        asked = [threads.submit(run, host, ECHO) for _ in range(20)]
        errors = [one.exception(60) for one in asked]
    assert {error.code for error in errors if isinstance(error, HostError)} == {"login_refused"}
    assert len(errors) == 20


# Silence


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


def test_a_peer_that_freezes_is_noticed_and_left(home: Path, key: Path, sshd: Sshd) -> None:
    with opened(settings(home, sshd, key_file=key)) as host:
        wait = ends_unknown(host, *RUNS)
        sshd.freeze()
        assert how_long(wait) < NOTICED_WITHIN
        assert run(host, ECHO).stdout == b"hello\n"
        assert sshd.logins == 2


def test_a_command_that_meets_a_frozen_peer_is_told_the_host_is_lost(home: Path, key: Path, sshd: Sshd) -> None:
    with opened(settings(home, sshd, key_file=key)) as host:
        run(host, ECHO)
        sshd.freeze()

        def fail() -> None:
            with pytest.raises(HostError) as lost:
                run(host, ECHO)
            assert lost.value.code in ("host_lost", "host_unreachable")

        assert how_long(fail) < NOTICED_WITHIN
        assert run(host, ECHO).stdout == b"hello\n"


def test_an_upload_to_a_peer_that_freezes_ends(home: Path, key: Path, sshd: Sshd) -> None:
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
        assert time.monotonic() - start < NOTICED_WITHIN
        assert process.read(5).ended
        assert process.exit_code is None
        process.close()


@pytest.mark.parametrize("which", ["gateway", "target"])
def test_either_end_of_a_proxy_jump_that_freezes_is_noticed(home: Path, key: Path, sshd: Sshd, which: str) -> None:
    with behind(home, key, sshd) as gateway, opened(settings(home, host="kube", key_file=key)) as host:
        wait = ends_unknown(host, *RUNS)
        (gateway if which == "gateway" else sshd).freeze()
        assert how_long(wait) < NOTICED_WITHIN
        assert run(host, ECHO).stdout == b"hello\n"


def test_a_quiet_command_and_a_slow_upload_are_not_taken_for_silence(
    home: Path, key: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a fifth of the real beat: an upload that takes several times as long as silence may."""
    monkeypatch.setattr(line, "BEAT", line.BEAT / 5)
    patience = line.BEAT * (line.SILENT_BEATS + 1)
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
