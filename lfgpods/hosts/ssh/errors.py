"""Turn the errors of paramiko and sockets into HostErrors that say what to do."""

from __future__ import annotations

import socket

import paramiko

from lfgpods.core.errors import HostError

_REACH = "Check K8S_SSH_HOST and K8S_SSH_PORT, that the host is up, and that no firewall blocks the connection."

_WRONG_PASSPHRASE = ("checkints do not match", "Bad password", "Invalid key")


def translated(error: Exception, host: str, user: str) -> HostError:
    """Return the HostError for ERROR on a connection to HOST (`name:port`)."""
    if isinstance(error, HostError):
        return error
    if isinstance(error, paramiko.BadHostKeyException):
        return HostError(
            f"the host key of {host} has changed: it is now {error.key.get_name()} {error.key.fingerprint}",
            "Someone may be intercepting the connection. If the host was reinstalled, remove its old key from "
            f"known_hosts, with accept-new the one in lfgpods' data folder: ssh-keygen -R {_known_as(host)}",
            code="host_key_changed",
        )
    if isinstance(error, paramiko.PasswordRequiredException) or any(text in str(error) for text in _WRONG_PASSPHRASE):
        return HostError(
            "a private key in ~/.ssh needs a passphrase, or the given one is wrong",
            "Set or correct K8S_SSH_KEY_PASSPHRASE, or use another key with K8S_SSH_KEY_FILE.",
            code="wrong_passphrase",
        )
    if isinstance(error, paramiko.AuthenticationException) and "timeout" not in str(error).lower():
        return _login_refused(host, user)
    if isinstance(error, socket.gaierror):
        return HostError(
            f"the name of the Kubernetes host {host} cannot be resolved", "Check K8S_SSH_HOST.", code="host_unreachable"
        )
    if isinstance(error, paramiko.ChannelException):
        return HostError(
            f"the Kubernetes host {host} cannot be reached through its ProxyJump host: {error.text}",
            _REACH,
            code="host_unreachable",
        )
    if not isinstance(error, paramiko.SSHException) or isinstance(error, paramiko.AuthenticationException):
        timed_out = isinstance(error, TimeoutError | paramiko.AuthenticationException)
        reason = "no answer in time" if timed_out else _one_line(error)
        return HostError(f"the Kubernetes host {host} cannot be reached: {reason}", _REACH, code="host_unreachable")
    if "No authentication methods" in str(error):
        return _login_refused(host, user)
    if "No existing session" in str(error):
        what = f"the Kubernetes host {host} cannot be reached: the key exchange timed out"
        return HostError(what, _REACH, code="host_unreachable")
    if "banner" in str(error):
        return HostError(
            f"{host} does not answer as an SSH server",
            "Check K8S_SSH_PORT. An sshd with too many logins at once (MaxStartups) does this too; then try again.",
            code="host_unreachable",
        )
    return HostError(f"the SSH connection to {host} failed: {_one_line(error)}", _REACH, code="host_lost")


def _known_as(host: str) -> str:
    """Return the known_hosts name of `name:port`."""
    name, _, port = host.rpartition(":")
    return name if port == "22" else f"'[{name}]:{port}'"


def _login_refused(host: str, user: str) -> HostError:
    return HostError(
        f"{host} refuses the SSH key of {user}",
        "Check K8S_SSH_USERNAME and K8S_SSH_KEY_FILE; the account's authorized_keys must list the public key.",
        code="login_refused",
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
