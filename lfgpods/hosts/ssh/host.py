"""One SSH connection, with every command as a channel on it.

Fabric reads the configuration and connects, through gateways where ssh_config names one; commands run on raw
channels, because Fabric's runner decodes, rescans and replaces what passes through it. Nothing is ever retried
that may have run.
"""

from __future__ import annotations

import contextlib
import logging
import random
import secrets
import shlex
import socket
import threading
import time
from collections.abc import Sequence

import fabric
import paramiko

from lfgpods.errors import HostError
from lfgpods.hosts import in_sequence
from lfgpods.hosts.ssh.errors import translated
from lfgpods.hosts.ssh.keys import TrustedKeys, UnknownHostKeyPolicy, load_private_key, load_trusted_keys
from lfgpods.hosts.ssh.process import SshProcess
from lfgpods.settings import SshSettings

CONNECT_TIMEOUT = 10.0
LOGIN_TIMEOUT = 15.0
CHANNEL_TIMEOUT = 15.0
SESSION_FREE_WITHIN = 2.0
BANNER_PAUSES = (0.3, 1.0)
"""How long to stay away from an sshd that drops connections because many log in at once (MaxStartups)."""
BANNER_DROPPED_WITHIN = 3.0
KEEPALIVE = 3
DEAD_PEER_TIMEOUT = 9.0
CHANNELS = 5  # sshd allows 10 sessions on a connection and frees them late

# Both print a token on both streams first: what a shell's start-up files print before it is not the answer.
_RUN = 'echo "$0"; echo "$0" >&2; exec "$@"'
_RUN_WHILE_STDIN_IS_OPEN = """\
echo "$0"; echo "$0" >&2
exec 3<&0 </dev/null
"$@" 3<&- & child=$!
{ cat <&3; kill "$child"; } >/dev/null 2>&1 &
wait "$child"; code=$?
kill "$!" 2>/dev/null
exit "$code"
"""

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # without a handler it prints tracebacks


class SshHost:
    """The Kubernetes host over SSH. Connects with the first command; safe for many threads."""

    def __init__(self, settings: SshSettings, *, access_host: str | None = None) -> None:
        self._settings = settings
        self._access_host = access_host
        self._lock = threading.Lock()
        self._slots = threading.BoundedSemaphore(CHANNELS)
        self._connection: fabric.Connection | None = None
        self._retired: list[fabric.Connection] = []

    @property
    def name(self) -> str:
        host, port = self._settings.host, self._settings.port
        return host if port in (None, 22) else f"{host}:{port}"

    @property
    def address(self) -> str:
        return self._access_host or self._settings.host

    def open(
        self, argv: Sequence[str], *, after: Sequence[Sequence[str]] = (), ends_with_us: bool = False
    ) -> SshProcess:
        token = secrets.token_hex(16)
        script = _RUN_WHILE_STDIN_IS_OPEN if ends_with_us else _RUN
        line = "exec " + shlex.join(["sh", "-c", script, token, *in_sequence([*after, argv])])
        if not self._slots.acquire(timeout=CHANNEL_TIMEOUT):
            raise HostError(f"{self.name} is busy with {CHANNELS} commands of ours", "Run fewer at once.", code="busy")
        try:
            channel = self._channel()
            try:
                channel.exec_command(line)
            except BaseException:
                channel.close()
                raise
        except (paramiko.SSHException, OSError, EOFError) as error:
            self._slots.release()
            raise translated(error, self.name, "this account") from error
        except BaseException:
            self._slots.release()
            raise
        return SshProcess(channel, token.encode() + b"\n", self.name, self._slots.release)

    def close(self) -> None:
        with self._lock:
            for connection in [*self._retired, self._connection]:
                if connection is not None:
                    _close(connection)
            self._retired.clear()
            self._connection = None

    def _channel(self) -> paramiko.Channel:
        """A session on the connection; on a new one where commands that we let go of still hold all of this one's."""
        transport = self._transport()
        try:
            return _open_channel(transport)
        except paramiko.ChannelException:
            with self._lock:
                if self._connection is not None and self._connection.transport is transport:
                    self._retired.append(self._connection)
                    self._connection = None
            return _open_channel(self._transport())

    def _transport(self) -> paramiko.Transport:
        with self._lock:
            connection = self._connection
            if connection is None or not connection.is_connected:
                if connection is not None:
                    _close(connection)
                self._connection = connection = self._connect()
            transport = connection.transport
            assert isinstance(transport, paramiko.Transport)
            return transport

    def _connect(self) -> fabric.Connection:
        settings = self._settings
        config = fabric.Config(overrides={"user": "root", "port": 22})
        key = load_private_key(settings)
        trusted = load_trusted_keys(settings)
        for pause in (*BANNER_PAUSES, None):
            connection = fabric.Connection(settings.host, user=settings.username, port=settings.port, config=config)
            start = time.monotonic()
            try:
                _open(connection, settings, key, trusted)
                return connection
            except (paramiko.SSHException, OSError, EOFError) as error:
                _close(connection)
                dropped = "banner" in str(error) and time.monotonic() - start < BANNER_DROPPED_WITHIN
                if pause is None or not dropped:
                    raise translated(error, f"{connection.host}:{connection.port}", connection.user) from error
                threading.Event().wait(pause * random.uniform(0.5, 1.5))  # noqa: S311 - only sets callers apart
        raise AssertionError("unreachable")


def _open(
    connection: fabric.Connection, settings: SshSettings, key: paramiko.PKey | None, trusted: TrustedKeys
) -> None:
    """Open a connection and first the gateway in front of it, each with its own host key checked."""
    kwargs: dict[str, object] = {
        "banner_timeout": LOGIN_TIMEOUT,
        "auth_timeout": LOGIN_TIMEOUT,
        "channel_timeout": CHANNEL_TIMEOUT,
    }
    if key is not None:
        kwargs |= {"pkey": key, "allow_agent": False, "look_for_keys": False}
    else:
        kwargs["key_filename"] = _readable(connection.connect_kwargs.get("key_filename") or [])
        kwargs["passphrase"] = settings.key_passphrase
    if connection.gateway is None:
        kwargs["sock"] = _socket(connection.host, connection.port)
    elif isinstance(connection.gateway, fabric.Connection):
        _open(connection.gateway, settings, key, trusted)
    connection.connect_kwargs = kwargs
    trusted.install(connection.client)
    connection.client.set_missing_host_key_policy(UnknownHostKeyPolicy(settings, trusted))
    connection.open()
    transport = connection.transport
    assert isinstance(transport, paramiko.Transport)
    transport.set_keepalive(KEEPALIVE)


def _readable(files: str | Sequence[str]) -> list[str]:
    found = []
    for file in [files] if isinstance(files, str) else files:
        with contextlib.suppress(OSError), open(file, "rb"):
            found.append(file)
    return found


def _socket(host: str, port: int) -> socket.socket:
    """A TCP connection that sends at once, and that notices a peer which no longer answers."""
    connected = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT)
    connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(DEAD_PEER_TIMEOUT * 1000))
    return connected


def _open_channel(transport: paramiko.Transport) -> paramiko.Channel:
    """Open a session channel; wait a little where sshd's MaxSessions refuses, as nothing has run yet."""
    deadline = time.monotonic() + SESSION_FREE_WITHIN
    pause = 0.05
    while True:
        try:
            return transport.open_session(timeout=CHANNEL_TIMEOUT)
        except paramiko.ChannelException:
            if time.monotonic() + pause > deadline:
                raise
            threading.Event().wait(pause)
            pause *= 2


def _close(connection: fabric.Connection) -> None:
    with contextlib.suppress(Exception):  # a connection that is already broken has nothing left to say
        connection.close()
        connection.client.close()  # a login that was refused has left a transport that Fabric does not know of
    if isinstance(connection.gateway, fabric.Connection):
        _close(connection.gateway)
