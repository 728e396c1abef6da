"""Logging in to real SSH servers: keys, agents and certificates, what ssh_config says, and the way through others."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfgpods.core.settings import SshSettings
from lfgpods.hosts.run import run
from tests.e2e.sshd import ECHO, Agent, Sshd, behind, new_key, opened, public, refused, settings

pytestmark = pytest.mark.real


def logs_in(settings: SshSettings) -> None:
    with opened(settings) as host:
        assert run(host, ECHO).stdout == b"hello\n"


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


def test_ssh_config_applies_to_the_host(home: Path, key: Path, sshd: Sshd) -> None:
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


def test_an_error_names_the_gateway_that_refused(home: Path, key: Path, sshd: Sshd) -> None:
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
