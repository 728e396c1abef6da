"""The private key for the login, and the host keys to trust.

Never writes to the user's known_hosts: accept-new appends to a file of lfgpods' own.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry
from paramiko.pkey import PublicBlob

from lfgpods.core.errors import HostError
from lfgpods.core.settings import SshSettings

_SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
_KEY_TYPES: tuple[type[paramiko.PKey], ...] = (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey)


def load_private_key(settings: SshSettings) -> paramiko.PKey | None:
    """The private key in the settings, or None to try the agent and the default keys.

    Includes the certificate beside the key file (`-cert.pub`), if there is one. Raises HostError.
    """
    if settings.key_string:
        return _parsed(settings.key_string, settings.key_passphrase, "K8S_SSH_KEY_STRING")
    if not settings.key_file:
        return None
    path = settings.key_file
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        missing = isinstance(error, FileNotFoundError)
        raise HostError(
            f"the SSH key file {path} {'does not exist' if missing else 'cannot be read'}",
            "Set K8S_SSH_KEY_FILE to your private key, or K8S_SSH_KEY_STRING to its text.",
            code="key_missing",
        ) from error
    key = _parsed(text, settings.key_passphrase, str(path))
    certificate = Path(f"{path}-cert.pub")
    if certificate.is_file():
        key.load_certificate(str(certificate))
    return key


def load_certified_key(files: Sequence[str], certificate: str, passphrase: str | None) -> paramiko.PKey | None:
    """The first of the key FILES that CERTIFICATE belongs to, with the certificate loaded; None if there is none."""
    path = os.path.expanduser(certificate)
    try:
        named = PublicBlob.from_file(path)
    except (OSError, ValueError, paramiko.SSHException):
        return None
    for file in files:
        key = _try_types(Path(file).read_text(errors="replace"), passphrase)
        if isinstance(key, paramiko.PKey) and _public_part(key) in named.key_blob:
            with contextlib.suppress(ValueError):  # a key of another type
                key.load_certificate(path)
                return key
    return None


def _public_part(key: paramiko.PKey) -> bytes:
    """The part of a public key that its certificate repeats: everything after the name of the type."""
    return key.asbytes()[4 + len(key.get_name()) :]


def _parsed(text: str, passphrase: str | None, where: str) -> paramiko.PKey:
    key = _try_types(text, passphrase)
    if isinstance(key, paramiko.PKey):
        return key
    if _try_types(text, None) is not _ENCRYPTED:
        raise HostError(
            f"{where} does not hold a private key",
            "Give the whole text of an OpenSSH or PEM private key (ed25519, ECDSA or RSA).",
            code="key_invalid",
        )
    if passphrase:
        raise HostError(
            f"the passphrase does not open the key in {where}",
            "Correct K8S_SSH_KEY_PASSPHRASE.",
            code="wrong_passphrase",
        )
    raise HostError(
        f"the key in {where} is protected by a passphrase",
        "Set K8S_SSH_KEY_PASSPHRASE.",
        code="wrong_passphrase",
    )


_ENCRYPTED = object()


def _try_types(text: str, passphrase: str | None) -> object:
    """The key, _ENCRYPTED if it needs a passphrase, or None if TEXT is not a key."""
    found: object = None
    for key_type in _KEY_TYPES:
        try:
            return key_type.from_private_key(io.StringIO(text), passphrase)
        except paramiko.PasswordRequiredException:
            found = _ENCRYPTED
        except (paramiko.SSHException, ValueError, TypeError, IndexError):
            continue
    return found


@dataclass(frozen=True)
class TrustedKeys:
    """Host names with their keys, and the keys that known_hosts marks as revoked."""

    entries: tuple[tuple[str, paramiko.PKey], ...]
    revoked: frozenset[bytes]

    def install(self, client: paramiko.SSHClient) -> None:
        host_keys = client.get_host_keys()
        for name, key in self.entries:
            host_keys.add(name, key.get_name(), key)


def load_trusted_keys(settings: SshSettings) -> TrustedKeys:
    """Read the known_hosts of the user (or the one in the settings), of the system, and of lfgpods.

    Ignores lines that paramiko cannot load, among them certificate authorities: those hosts stay untrusted. Raises
    HostError if the file in the settings is missing.
    """
    own = settings.known_hosts or Path.home() / ".ssh" / "known_hosts"
    if settings.known_hosts and not own.is_file():
        raise HostError(
            f"the known hosts file {own} does not exist",
            f"Correct K8S_SSH_KNOWN_HOSTS, or create it: ssh-keyscan {_scan(settings.host, settings.port)} >> {own}",
            code="host_key_unknown",
        )
    entries: list[tuple[str, paramiko.PKey]] = []
    revoked: set[bytes] = set()
    for path in (settings.accepted_host_keys, _SYSTEM_KNOWN_HOSTS, own):  # the last entry for a name wins
        with contextlib.suppress(OSError):
            for line in path.read_text(errors="replace").splitlines():
                _read_line(line.strip(), entries, revoked)
    return TrustedKeys(tuple(e for e in entries if e[1].asbytes() not in revoked), frozenset(revoked))


def _read_line(line: str, entries: list[tuple[str, paramiko.PKey]], revoked: set[bytes]) -> None:
    marker, _, rest = line.partition(" ")
    is_revoked = marker == "@revoked"
    if not line or line.startswith("#") or (marker.startswith("@") and not is_revoked):
        return
    try:
        entry = HostKeyEntry.from_line(rest.strip() if is_revoked else line)
    except (paramiko.SSHException, ValueError):
        return
    if entry is None or entry.key is None:
        return
    if is_revoked:
        revoked.add(entry.key.asbytes())
    else:
        entries.extend((name, entry.key) for name in entry.hostnames)


def _scan(host: str, port: int | None) -> str:
    return f"-p {port} {host}" if port not in (None, 22) else host


def _host_and_port(name: str) -> tuple[str, int | None]:
    """The host and port of a name in known_hosts: `host` or `[host]:port`."""
    if not name.startswith("["):
        return name, None
    host, _, port = name[1:].rpartition("]:")
    return host, int(port)


class UnknownHostKeyPolicy(paramiko.MissingHostKeyPolicy):
    """Refuses an unknown host key. With accept-new, records the key instead."""

    def __init__(self, settings: SshSettings, trusted: TrustedKeys) -> None:
        self._settings = settings
        self._trusted = trusted

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        if key.asbytes() in self._trusted.revoked:
            raise HostError(
                f"the host key of {hostname} is marked as revoked in known_hosts",
                "Do not connect; ask the administrator of the host.",
                code="host_key_changed",
            )
        if not self._settings.accept_new_host_keys:
            known_hosts = self._settings.known_hosts or "~/.ssh/known_hosts"
            raise HostError(
                f"the host key of {hostname} is not known ({key.get_name()} {key.fingerprint})",
                f"Compare it with the host's, then: ssh-keyscan {_scan(*_host_and_port(hostname))} >> {known_hosts}; "
                "or set K8S_SSH_HOST_KEY_POLICY=accept-new.",
                code="host_key_unknown",
            )
        path = self._settings.accepted_host_keys
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")
