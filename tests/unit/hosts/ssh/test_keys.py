"""Keys and known_hosts files, with keys that OpenSSH made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import paramiko
import pytest

from lfgpods.core.errors import HostError
from lfgpods.core.settings import SshSettings
from lfgpods.hosts.ssh.errors import translated
from lfgpods.hosts.ssh.keys import UnknownHostKeyPolicy, load_private_key, load_trusted_keys


def settings(tmp_path: Path, **given: object) -> SshSettings:
    values: dict[str, object] = {
        "host": "h", "port": None, "username": None, "key_file": None, "key_string": None, "key_passphrase": None,
        "known_hosts": None, "accept_new_host_keys": False, "accepted_host_keys": tmp_path / "own" / "known_hosts",
    }  # fmt: skip
    return SshSettings(**{**values, **given})  # type: ignore[arg-type]


def keygen(path: Path, *options: str, passphrase: str = "") -> Path:
    options = options or ("-t", "ed25519")
    bits = ["-b", "2048"] if "rsa" in options else []
    subprocess.run(["ssh-keygen", "-q", "-N", passphrase, "-f", str(path), *options, *bits], check=True)
    return path


@pytest.mark.parametrize("options", [("-t", "ed25519"), ("-t", "ecdsa"), ("-t", "rsa"), ("-t", "rsa", "-m", "PEM")])
def test_every_common_key_type_is_read_with_and_without_a_passphrase(tmp_path: Path, options: tuple[str, ...]) -> None:
    plain = load_private_key(settings(tmp_path, key_file=keygen(tmp_path / "plain", *options)))
    assert isinstance(plain, paramiko.PKey)
    protected = keygen(tmp_path / "protected", *options, passphrase="correct horse")
    assert load_private_key(settings(tmp_path, key_file=protected, key_passphrase="correct horse"))
    assert load_private_key(settings(tmp_path, key_string=protected.read_text(), key_passphrase="correct horse"))
    for wrong in (None, "wrong horse"):
        with pytest.raises(HostError) as refused:
            load_private_key(settings(tmp_path, key_file=protected, key_passphrase=wrong))
        assert refused.value.code == "wrong_passphrase"
        assert "horse" not in str(refused.value) + refused.value.hint


def test_a_certificate_beside_the_key_is_sent_with_it(tmp_path: Path) -> None:
    authority, key = keygen(tmp_path / "ca"), keygen(tmp_path / "key")
    subprocess.run(["ssh-keygen", "-q", "-s", str(authority), "-I", "me", "-n", "root", f"{key}.pub"], check=True)
    loaded = load_private_key(settings(tmp_path, key_file=key))
    assert loaded is not None
    assert loaded.public_blob is not None


def test_without_a_key_in_the_settings_the_agent_is_used(tmp_path: Path) -> None:
    assert load_private_key(settings(tmp_path)) is None


def test_every_kind_of_line_in_known_hosts_is_understood(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    key = keygen(tmp_path / "host").with_suffix(".pub").read_text().split()
    other = keygen(tmp_path / "other").with_suffix(".pub").read_text().split()
    known = tmp_path / "known"
    line = " ".join(key[:2])
    known.write_text(f"# comment\n\nplain,10.0.0.1 {line}\n[ported]:2222 {line}\nbroken\nbad ssh-rsa AAAA\nx y !!\n"
                     f"@cert-authority * {line}\n@revoked * {' '.join(other[:2])}\nrevoked {' '.join(other[:2])}\n")  # fmt: skip
    hashed = tmp_path / "hashed"
    hashed.write_text(f"hidden {line}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(hashed)], check=True, capture_output=True)
    known.write_text(known.read_text() + hashed.read_text())

    client = paramiko.SSHClient()
    trusted = load_trusted_keys(settings(tmp_path, known_hosts=known))
    trusted.install(client)
    host_keys = client.get_host_keys()
    for name in ("plain", "10.0.0.1", "[ported]:2222", "hidden"):
        assert host_keys.lookup(name) is not None, name
    for name in ("ported", "revoked", "broken", "elsewhere"):
        assert host_keys.lookup(name) is None, name
    assert len(trusted.revoked) == 1


def test_accept_new_adds_one_line_to_the_file_of_lfgpods(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    key = load_private_key(settings(tmp_path, key_file=keygen(tmp_path / "host")))
    assert key is not None
    strict = settings(tmp_path)
    with pytest.raises(HostError) as refused:
        UnknownHostKeyPolicy(strict, load_trusted_keys(strict)).missing_host_key(paramiko.SSHClient(), "h", key)
    assert refused.value.code == "host_key_unknown"
    assert not strict.accepted_host_keys.exists()

    accepting = settings(tmp_path, accept_new_host_keys=True)
    UnknownHostKeyPolicy(accepting, load_trusted_keys(accepting)).missing_host_key(paramiko.SSHClient(), "h", key)
    assert strict.accepted_host_keys.read_text() == f"h {key.get_name()} {key.get_base64()}\n"
    assert strict.accepted_host_keys.stat().st_mode & 0o777 == 0o600
    assert [name for name, _ in load_trusted_keys(strict).entries] == ["h"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "host_unreachable"),
        (TimeoutError(), "host_unreachable"),
        (OSError(113, "No route to host"), "host_unreachable"),
        (EOFError(), "host_unreachable"),
        (paramiko.SSHException("Error reading SSH protocol banner"), "host_unreachable"),
        (paramiko.AuthenticationException("Authentication failed."), "login_refused"),
        (paramiko.SSHException("No authentication methods available"), "login_refused"),
        (paramiko.SSHException("something else"), "host_lost"),
    ],
)
def test_an_error_of_paramiko_becomes_a_cause_and_a_remedy(error: Exception, code: str) -> None:
    said = translated(error, "h:22", "root")
    assert said.code == code
    assert said.hint
    assert said.exit_code == 4
