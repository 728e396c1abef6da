"""A pool of connections to one host, and their channels.

A sequential caller uses one connection. The pool opens another, one at a time, only when all channels are in use. At
the limit, callers queue.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import paramiko

from lfgpods.core.errors import HostError
from lfgpods.hosts.ssh.connection import CHANNEL_TIMEOUT, hang_up

if TYPE_CHECKING:
    from lfgpods.hosts.ssh.connection import Connection

CONNECTIONS = 4
CHANNELS = 5  # per connection; sshd allows 10 sessions and frees them late
QUEUE_TIMEOUT = 60.0
LOGIN_PAUSE = 5.0
"""Seconds to wait after a failed login before the next one, while other connections work."""
FIRST_BACKOFF, LONGEST_BACKOFF = 0.05, 2.0
REFUSALS = 5
"""Refusals in a row (about 1.5 s of back-off) after which a connection counts as full."""


@dataclass(eq=False)
class _PooledConnection:
    """A connection and the number of its channels in use."""

    connection: Connection
    used: int = 0
    served: bool = False
    refusals: int = 0
    retry_at: float = 0.0

    @property
    def transport(self) -> paramiko.Transport:
        transport = self.connection.transport
        assert isinstance(transport, paramiko.Transport)
        return transport

    @property
    def is_full(self) -> bool:
        return self.used >= CHANNELS or self.refusals >= REFUSALS

    @property
    def is_spent(self) -> bool:
        """Whether the connection is dead, or full of closed channels that sshd does not free."""
        return not self.transport.is_active() or (self.used == 0 and self.refusals >= REFUSALS)

    def refuse(self, asked_at: float) -> None:
        """Count a refusal. Requests made at the same time count once."""
        if asked_at >= self.retry_at:
            self.retry_at = time.monotonic() + min(FIRST_BACKOFF * 2**self.refusals, LONGEST_BACKOFF)
            self.refusals += 1


class Pool:
    """Opens channels on as few connections as possible. Thread-safe."""

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
        """Called when a caller has to wait: idle holders of channels may close them."""

    def open_channel(self) -> tuple[paramiko.Channel, Callable[[], None]]:
        """Return a new session channel and a function to call once it is closed.

        Raises HostError, with code `busy` if no channel became free within QUEUE_TIMEOUT seconds.
        """
        deadline = time.monotonic() + QUEUE_TIMEOUT
        while True:
            pooled = self._slot(deadline)
            if pooled is None:
                self._add_connection()
            elif channel := self._channel(pooled):
                return channel, partial(self._release, pooled)

    def close(self) -> None:
        """Close every connection; a later channel opens a new one."""
        with self._changed:
            for pooled in self._connections:
                hang_up(pooled.connection)
            self._connections.clear()
            self._changed.notify_all()

    def _slot(self, deadline: float) -> _PooledConnection | None:
        """Reserve a channel and return its connection, or None if the caller must log in once more."""
        with self._changed:
            failures = self._failures
            while True:
                self._drop_spent()
                now = time.monotonic()
                for pooled in self._connections:
                    if pooled.used < CHANNELS and pooled.retry_at <= now:
                        pooled.used += 1
                        return pooled
                if self._failure is not None and self._failures > failures and not self._connections:
                    raise HostError(self._failure.message, self._failure.hint, code=self._failure.code)
                if self._may_log_in(now):
                    self._logging_in = True
                    return None
                if now >= deadline:
                    taken = sum(pooled.used for pooled in self._connections)
                    raise HostError(
                        f"{self._name} already runs {taken} lfgpods commands", "Run fewer at once.", code="busy"
                    )
                threading.Thread(target=self.make_room, name="lfgpods-make-room", daemon=True).start()
                retries = [pooled.retry_at for pooled in self._connections if pooled.retry_at > now]
                self._changed.wait(min([deadline, now + 1.0, *retries]) - now)  # nothing announces a dead connection

    def _may_log_in(self, now: float) -> bool:
        return (
            not self._logging_in
            and len(self._connections) < CONNECTIONS
            and all(pooled.is_full for pooled in self._connections)
            and (not self._connections or now >= self._no_login_before)
        )

    def _add_connection(self) -> None:
        """Log in once more. Raises HostError only if no other connection is open."""
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
        """Open a session. If sshd refuses it (MaxSessions), give the slot back and return None."""
        asked_at = time.monotonic()
        try:
            channel = pooled.transport.open_session(timeout=CHANNEL_TIMEOUT)
        except BaseException as error:
            self._release(pooled, refused_at=asked_at if _is_refusal(error, pooled.transport) else None)
            if not _is_refusal(error, pooled.transport):
                raise
            if not pooled.served and pooled.is_spent:
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

    def _drop_spent(self) -> None:
        for pooled in [pooled for pooled in self._connections if pooled.is_spent]:
            self._connections.remove(pooled)
            hang_up(pooled.connection)


def _is_refusal(error: BaseException, transport: paramiko.Transport) -> bool:
    """Whether sshd refused a session. If it refuses two at once, one error is a bare SSHException."""
    if isinstance(error, paramiko.ChannelException):
        return True
    return isinstance(error, paramiko.SSHException) and transport.is_active() and "Timeout" not in str(error)
