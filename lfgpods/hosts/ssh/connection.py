"""Logs in. Checks the host key of every hop before anything passes through it."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import paramiko

from lfgpods.core.settings import SshSettings
from lfgpods.hosts.ssh.errors import translated
from lfgpods.hosts.ssh.heartbeat import WatchedTransport
from lfgpods.hosts.ssh.keys import (
    TrustedKeys,
    UnknownHostKeyPolicy,
    load_certified_key,
    load_private_key,
    load_trusted_keys,
)
from lfgpods.hosts.ssh.ssh_config import config_error, load_ssh_config

if TYPE_CHECKING:
    import fabric

DEFAULT_USER, DEFAULT_PORT = "root", 22
CONNECT_TIMEOUT = 10.0
LOGIN_TIMEOUT = 12.0
"""For the banner, for the key exchange and for the answer to a key, each, in seconds."""
CHANNEL_TIMEOUT = 15.0
BANNER_RETRY_DELAYS = (0.3, 1.0)
"""When to retry an sshd that dropped the connection because too many clients log in at once (MaxStartups)."""
BANNER_DROPPED_WITHIN = 3.0
UNACKNOWLEDGED_TIMEOUT = 9.0
MAX_UNSENT = 128 << 10
"""Bytes that may wait in the socket, so that other messages do not queue behind a long upload."""

_GATEWAYS = {"proxyjump", "proxycommand"}


class DirectConnection:
    """A connection without a gateway, with the interface of Fabric's, so that Fabric need not be loaded."""

    gateway = None

    def __init__(self, settings: SshSettings, ssh_config: paramiko.SSHConfigDict) -> None:
        self.ssh_config = ssh_config
        self.host = str(ssh_config.get("hostname", settings.host))
        self.user = str(settings.username or ssh_config.get("user", DEFAULT_USER))
        self.port = settings.port or int(ssh_config.get("port", DEFAULT_PORT))
        self.connect_kwargs: dict[str, Any] = {"key_filename": ssh_config.get("identityfile", [])}
        self.client = paramiko.SSHClient()
        self.transport: Any = None
        """The transport of the last `open`. Stays here after the client has dropped it."""

    def open(self) -> None:
        # The timeout limits the key exchange: paramiko's own limit ends with the first packet.
        self.client.connect(self.host, self.port, self.user, timeout=LOGIN_TIMEOUT, **self.connect_kwargs)
        self.transport = self.client.get_transport()

    def close(self) -> None:
        self.client.close()


Connection: TypeAlias = "fabric.Connection | DirectConnection"


def log_in(settings: SshSettings) -> Connection:
    """An open connection, through the gateways in ssh_config if there are any. Raises HostError."""
    key = load_private_key(settings)
    trusted = load_trusted_keys(settings)
    connection = _configured(settings)
    try:
        _open(connection, settings, key, trusted)
    except BaseException:
        hang_up(connection)
        raise
    return connection


def hang_up(connection: Connection) -> None:
    """Close a connection, open or not, without waiting for the peer."""
    if _is_connection(connection.gateway):
        hang_up(connection.gateway)  # first: closing a channel through an open gateway may block
    with contextlib.suppress(Exception):  # it may be broken already
        connection.close()
        connection.client.close()  # Fabric does not know the transport of a refused login


def _is_connection(gateway: object) -> bool:
    """Whether a gateway is a host to log in to, not a ProxyCommand and not None."""
    return gateway is not None and not isinstance(gateway, str)


def _configured(settings: SshSettings) -> Connection:
    ssh_config = load_ssh_config()
    try:
        found = ssh_config.lookup(settings.host)
        direct = found.get("proxyjump", "").lower() == "none"
        if _is_plain_name(settings.host) and (direct or not _GATEWAYS & found.keys()):
            return DirectConnection(settings, found)

        import fabric

        defaults = {"user": DEFAULT_USER, "port": DEFAULT_PORT, "timeouts": {"connect": LOGIN_TIMEOUT}}
        config = fabric.Config(overrides=defaults, ssh_config=ssh_config)
        return fabric.Connection(
            settings.host,
            user=settings.username,
            port=settings.port,
            config=config,
            gateway=False if direct else None,
        )
    except (ValueError, LookupError, RecursionError, OSError, paramiko.SSHException) as error:
        raise config_error(f"it cannot be used for {settings.host}: {error}") from error


def _is_plain_name(host: str) -> bool:
    """Whether HOST contains no user and no port. Fabric parses those."""
    return "@" not in host and host.count(":") != 1


def _open(connection: Connection, settings: SshSettings, key: paramiko.PKey | None, trusted: TrustedKeys) -> None:
    """Open a connection, after its gateways. Checks the host key of each."""
    if _is_connection(connection.gateway):
        _open(connection.gateway, settings, key, trusted)
    trusted.install(connection.client)
    connection.client.set_missing_host_key_policy(UnknownHostKeyPolicy(settings, trusted))
    options = _login_options(connection, settings, key)
    for delay in (*BANNER_RETRY_DELAYS, None):
        start = time.monotonic()
        try:
            if not connection.gateway:
                options["sock"] = _socket(connection.host, connection.port)
            connection.connect_kwargs = options
            connection.open()
            break
        except (paramiko.SSHException, OSError, EOFError, ValueError) as error:
            connection.client.close()
            dropped = "banner" in str(error) and time.monotonic() - start < BANNER_DROPPED_WITHIN
            if delay is None or not dropped:
                raise translated(error, f"{connection.host}:{connection.port}", connection.user) from error
            threading.Event().wait(delay * random.uniform(0.5, 1.5))  # noqa: S311 - only spreads callers out
    connection.transport.watch()


def _login_options(connection: Connection, settings: SshSettings, key: paramiko.PKey | None) -> dict[str, object]:
    options: dict[str, object] = {
        "banner_timeout": LOGIN_TIMEOUT,
        "auth_timeout": LOGIN_TIMEOUT,
        "channel_timeout": CHANNEL_TIMEOUT,
        "transport_factory": _transport,
    }
    if key is not None:
        return options | {"pkey": key, "allow_agent": False, "look_for_keys": False}
    files = _readable(connection.connect_kwargs.get("key_filename") or [])
    certificate = connection.ssh_config.get("certificatefile")
    return options | {
        "pkey": load_certified_key(files, certificate, settings.key_passphrase) if certificate else None,
        "key_filename": files,
        "passphrase": settings.key_passphrase,
    }


def _transport(sock: object, **options: object) -> WatchedTransport:
    transport = WatchedTransport(sock, **options)
    transport.handshake_timeout = LOGIN_TIMEOUT
    security = transport.get_security_options()
    # GCM first: a separate checksum would take both ends as long as all the rest.
    security.ciphers = sorted(security.ciphers, key=lambda cipher: "gcm" not in cipher)
    return transport


def _readable(files: str | Sequence[str]) -> list[str]:
    found = []
    for file in [files] if isinstance(files, str) else files:
        with contextlib.suppress(OSError), open(file, "rb"):
            found.append(file)
    return found


def _socket(host: str, port: int) -> socket.socket:
    """A TCP connection that sends at once, queues little, and breaks when the peer stops acknowledging."""
    connected = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNACKNOWLEDGED_TIMEOUT * 1000))
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT)
    return connected
