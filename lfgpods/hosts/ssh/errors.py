"""Turns the errors of paramiko and of sockets into HostErrors with a cause and a remedy."""

from __future__ import annotations

import socket

import paramiko

from lfgpods.core.errors import HostError, HostUnreachableError

_REACH = "Check K8S_SSH_HOST and K8S_SSH_PORT, that the host is up, and that no firewall blocks the way."

_WRONG_PASSPHRASE = ("checkints do not match", "Bad password", "Invalid key")


def translated(error: Exception, host: str, user: str) -> HostError:
    """The HostError for ERROR, which came up on the way to HOST (`name:port`)."""
    if isinstance(error, HostError):
        return error
    if isinstance(error, paramiko.BadHostKeyException):
        return HostError(
            f"the host key of {host} has changed: it is now {error.key.get_name()} {error.key.fingerprint}",
            "Someone may be listening in. If the host was reinstalled, remove its old line from known_hosts "
            f"(accept-new keeps one in lfgpods' data folder): ssh-keygen -R {_known_as(host)}",
            code="host_key_changed",
        )
    if isinstance(error, paramiko.PasswordRequiredException) or any(text in str(error) for text in _WRONG_PASSPHRASE):
        return HostError(
            "a private key in ~/.ssh cannot be opened with this passphrase",
            "Set or correct K8S_SSH_KEY_PASSPHRASE, or name another key with K8S_SSH_KEY_FILE.",
            code="wrong_passphrase",
        )
    if isinstance(error, paramiko.AuthenticationException) and "timeout" not in str(error).lower():
        return _login_refused(host, user)
    if isinstance(error, socket.gaierror):
        return HostUnreachableError(f"the name of the Kubernetes host {host} is not known", "Check K8S_SSH_HOST.")
    if isinstance(error, paramiko.ChannelException):
        return HostUnreachableError(
            f"the Kubernetes host {host} cannot be reached through its ProxyJump host: {error.text}", _REACH
        )
    if not isinstance(error, paramiko.SSHException) or isinstance(error, paramiko.AuthenticationException):
        timed_out = isinstance(error, TimeoutError | paramiko.AuthenticationException)
        reason = "no answer in time" if timed_out else _one_line(error)
        return HostUnreachableError(f"the Kubernetes host {host} cannot be reached: {reason}", _REACH)
    if "No authentication methods" in str(error):
        return _login_refused(host, user)
    if "No existing session" in str(error):
        what = f"the Kubernetes host {host} cannot be reached: it did not finish the key exchange in time"
        return HostUnreachableError(what, _REACH)
    if "banner" in str(error):
        return HostUnreachableError(
            f"{host} does not answer as an SSH server",
            "Check K8S_SSH_PORT; a server with too many logins at once (MaxStartups) answers this way too.",
        )
    return HostUnreachableError(f"the SSH connection to {host} failed: {_one_line(error)}", _REACH, code="host_lost")


def _known_as(host: str) -> str:
    """The name of `name:port` in known_hosts."""
    name, _, port = host.rpartition(":")
    return name if port == "22" else f"'[{name}]:{port}'"


def _login_refused(host: str, user: str) -> HostError:
    return HostError(
        f"{host} does not accept the login of {user} with this key",
        "Check K8S_SSH_USERNAME and K8S_SSH_KEY_FILE; the account's authorized_keys must hold the public key.",
        code="login_refused",
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
