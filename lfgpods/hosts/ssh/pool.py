"""The connections to one host and their channels.

One connection is enough for a caller who does one thing at a time. The pool opens another one only if all open ones
have no free channel, and lets callers queue once it has opened CONNECTIONS.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import paramiko

from lfgpods.core.errors import HostError, HostUnreachableError
from lfgpods.hosts.ssh.connection import CHANNEL_TIMEOUT, hang_up

if TYPE_CHECKING:
    from lfgpods.hosts.ssh.connection import Connection

CONNECTIONS = 4
CHANNELS = 5
"""Channels in one connection. sshd allows 10 sessions, but frees them late."""
QUEUE_TIMEOUT = 60.0
"""How long a caller waits for a channel, in seconds."""
LOGIN_PAUSE = 5.0
"""How long to wait after a failed login while other connections are open, in seconds."""
MIN_BACKOFF, MAX_BACKOFF = 0.05, 2.0
MAX_REFUSALS = 5
"""Refusals in a row (about 1.5 s of back-off) after which a connection counts as full."""


@dataclass(eq=False)
class _PooledConnection:
    """A connection and the number of its channels in use."""

    connection: Connection
    used: int = 0
    served: bool = False
    """Whether it has ever opened a channel."""
    refusals: int = 0
    backs_off_until: float = 0.0

    @property
    def transport(self) -> paramiko.Transport:
        transport = self.connection.transport
        assert isinstance(transport, paramiko.Transport)
        return transport

    @property
    def is_full(self) -> bool:
        return self.used >= CHANNELS or self.refusals >= MAX_REFUSALS

    @property
    def is_dead(self) -> bool:
        """Lost, or full of commands that were closed here but do not end on the host."""
        return not self.transport.is_active() or (self.used == 0 and self.refusals >= MAX_REFUSALS)

    def refuse(self, asked_at: float) -> None:
        """Count a refusal. Requests that were sent at the same time count once."""
        if asked_at >= self.backs_off_until:
            self.backs_off_until = time.monotonic() + min(MIN_BACKOFF * 2**self.refusals, MAX_BACKOFF)
            self.refusals += 1


class ConnectionPool:
    """Channels on as few connections as possible. Safe for many threads."""

    def __init__(self, name: str, log_in: Callable[[], Connection]) -> None:
        self._name = name
        self._log_in = log_in
        self._changed = threading.Condition()
        self._connections: list[_PooledConnection] = []
        self._logging_in = False
        self._no_login_before = 0.0
        self._failures = 0
        self._failure: HostError | None = None
        self.make_room: Callable[[], object] = lambda: None
        """Called when a caller has to wait: others may hold channels that they can give up."""

    def open_channel(self) -> tuple[paramiko.Channel, Callable[[], None]]:
        """A new session channel, and the function to call when it closes.

        Raises HostError; HostUnreachableError `busy` if no channel became free for QUEUE_TIMEOUT seconds.
        """
        deadline = time.monotonic() + QUEUE_TIMEOUT
        while True:
            pooled = self._reserve(deadline)
            if pooled is None:
                self._add_connection()
            elif channel := self._channel(pooled):
                return channel, partial(self._release, pooled)

    def close(self) -> None:
        """Close every connection. A later channel opens a new one."""
        with self._changed:
            for pooled in self._connections:
                hang_up(pooled.connection)
            self._connections.clear()
            self._changed.notify_all()

    def _reserve(self, deadline: float) -> _PooledConnection | None:
        """A connection with a channel reserved for the caller, or None if the caller should log in once more."""
        with self._changed:
            failures = self._failures
            while True:
                self._drop_dead_connections()
                now = time.monotonic()
                for pooled in self._connections:
                    if pooled.used < CHANNELS and pooled.backs_off_until <= now:
                        pooled.used += 1
                        return pooled
                if self._failure is not None and self._failures > failures and not self._connections:
                    raise copy.copy(self._failure)
                if self._may_log_in(now):
                    self._logging_in = True
                    return None
                if now >= deadline:
                    taken = sum(pooled.used for pooled in self._connections)
                    raise HostUnreachableError(
                        f"{self._name} already runs {taken} lfgpods commands", "Run fewer at once.", code="busy"
                    )
                threading.Thread(target=self.make_room, name="lfgpods-make-room", daemon=True).start()
                backoffs = [pooled.backs_off_until for pooled in self._connections if pooled.backs_off_until > now]
                self._changed.wait(min([deadline, now + 1.0, *backoffs]) - now)  # a lost connection notifies nobody

    def _may_log_in(self, now: float) -> bool:
        return (
            not self._logging_in
            and len(self._connections) < CONNECTIONS
            and all(pooled.is_full for pooled in self._connections)
            and (not self._connections or now >= self._no_login_before)
        )

    def _add_connection(self) -> None:
        """Log in once more. Raises HostError only if there is no other connection to wait for."""
        try:
            connection = self._log_in()
        except HostError as error:
            with self._changed:
                self._failures += 1
                self._failure = error
                self._no_login_before = time.monotonic() + LOGIN_PAUSE
                if not self._connections:
                    raise
        else:
            with self._changed:
                self._connections.append(_PooledConnection(connection))
        finally:
            with self._changed:
                self._logging_in = False
                self._changed.notify_all()

    def _channel(self, pooled: _PooledConnection) -> paramiko.Channel | None:
        """Open the reserved channel. Releases it and returns None if sshd refuses (MaxSessions)."""
        asked_at = time.monotonic()
        try:
            channel = pooled.transport.open_session(timeout=CHANNEL_TIMEOUT)
        except BaseException as error:
            self._release(pooled, refused_at=asked_at if _is_refusal(error, pooled.transport) else None)
            if not _is_refusal(error, pooled.transport):
                raise
            if not pooled.served and pooled.is_dead:
                raise HostError(
                    f"{self._name} refuses every session",
                    "Check MaxSessions in its sshd_config, and that the account may run commands.",
                    code="login_refused",
                ) from error
            return None
        pooled.refusals = 0
        pooled.served = True
        return channel

    def _release(self, pooled: _PooledConnection, *, refused_at: float | None = None) -> None:
        with self._changed:
            pooled.used -= 1
            if refused_at is not None:
                pooled.refuse(refused_at)
            self._changed.notify_all()

    def _drop_dead_connections(self) -> None:
        for pooled in [pooled for pooled in self._connections if pooled.is_dead]:
            self._connections.remove(pooled)
            hang_up(pooled.connection)


def _is_refusal(error: BaseException, transport: paramiko.Transport) -> bool:
    """Whether sshd refused a session. paramiko raises a bare SSHException for one of two simultaneous refusals."""
    if isinstance(error, paramiko.ChannelException):
        return True
    return isinstance(error, paramiko.SSHException) and transport.is_active() and "Timeout" not in str(error)
