"""The host's SSH side: its two accounts, its host key and the keys of its clients."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.cluster import certificates, configuration
from tests.cluster.configuration import HOST_KEY, ROOT_ACCOUNT, USER_ACCOUNT, USER_KUBECONFIG
from tests.cluster.errors import ClusterError
from tests.cluster.network import HOST_ADDRESS
from tests.cluster.packages import run
from tests.cluster.paths import CLIENT, HOMES

PASSPHRASE = "correct horse"
KEY = CLIENT / "id_ed25519"
KEY_WITH_PASSPHRASE = CLIENT / "id_ed25519_passphrase"
RSA_KEY = CLIENT / "id_rsa"
UNAUTHORIZED_KEY = CLIENT / "other_key"
KNOWN_HOSTS = CLIENT / "known_hosts"
_SUDOERS = Path("/etc/sudoers.d/lfgpods-test-cluster")


def _make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> None:
    if not path.exists():
        run("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path))


def make_keys() -> None:
    """Make the keys that are missing; they stay the same from one cluster to the next."""
    CLIENT.mkdir(mode=0o700, exist_ok=True)
    # sshd insists on this folder, which usually its service makes.
    Path("/run/sshd").mkdir(exist_ok=True)
    _make_key(HOST_KEY)
    _make_key(KEY)
    _make_key(KEY_WITH_PASSPHRASE, passphrase=PASSPHRASE)
    _make_key(RSA_KEY, kind="rsa")
    _make_key(UNAUTHORIZED_KEY)
    authorized = (KEY, KEY_WITH_PASSPHRASE, RSA_KEY)
    configuration.AUTHORIZED_KEYS.write_text("".join(key.with_suffix(".pub").read_text() for key in authorized))
    kind, key, _ = HOST_KEY.with_suffix(".pub").read_text().split()
    KNOWN_HOSTS.write_text(f"{HOST_ADDRESS} {kind} {key}\n")


def _exists(account: str) -> bool:
    """Whether ACCOUNT is there and is the cluster's, which its home tells."""
    accounts = (line.split(":") for line in Path("/etc/passwd").read_text().splitlines())
    return any(fields[0] == account and fields[5] == str(HOMES / account) for fields in accounts)


def make_accounts() -> None:
    """Make root's alias, and an unprivileged account that has sudo and a kubeconfig it can read."""
    for account, identity in (
        (ROOT_ACCOUNT, ("--non-unique", "--uid", "0", "--gid", "0")),
        (USER_ACCOUNT, ("--user-group",)),
    ):
        home = HOMES / account
        home.mkdir(parents=True, exist_ok=True)
        if not _exists(account):
            _remove(account)
            # A password field of "*" can't be logged in with, yet the account is not locked.
            options = ("--no-create-home", "--home-dir", str(home), "--shell", "/bin/sh", "--password", "*")
            run("useradd", *identity, *options, account)
        shutil.chown(home, account)
    USER_KUBECONFIG.parent.mkdir(exist_ok=True)
    USER_KUBECONFIG.unlink(missing_ok=True)
    USER_KUBECONFIG.touch(mode=0o600)
    USER_KUBECONFIG.write_text(certificates.kubeconfig_of(USER_ACCOUNT).read_text())
    for path in (USER_KUBECONFIG.parent, USER_KUBECONFIG):
        shutil.chown(path, USER_ACCOUNT, USER_ACCOUNT)
    _SUDOERS.unlink(missing_ok=True)
    _SUDOERS.touch(mode=0o440)
    _SUDOERS.write_text(configuration.sudoers())


def _remove(account: str) -> None:
    # Forced, as every process of root counts as one of root's alias.
    subprocess.run(["userdel", "--force", account], check=False, stdin=subprocess.DEVNULL, capture_output=True)


def remove_accounts() -> None:
    """Take the accounts, their homes and their sudo right away again."""
    _SUDOERS.unlink(missing_ok=True)
    for account in (ROOT_ACCOUNT, USER_ACCOUNT):
        if _exists(account):
            _remove(account)
            if _exists(account):
                raise ClusterError(f"the account {account} can't be removed")
    shutil.rmtree(HOMES, ignore_errors=True)
