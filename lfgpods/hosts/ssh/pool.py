"""The connections to one host and their channels: how many there may be, and who has to wait.

One connection serves a caller who does one thing at a time. Further ones are opened, one after another, only when
those that are open have no channel left; beyond that callers queue.
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
CHANNELS = 5  # of a connection; sshd allows 10 sessions and frees them late
QUEUE_TIMEOUT = 60.0
LOGIN_PAUSE = 5.0
"""After a failed login there is no further one for so long, as long as other connections do the work."""
FIRST_REST, LONGEST_REST = 0.05, 2.0
REFUSALS = 5
"""So often in a row, with rests that add up to 1.5 s, a connection refuses a channel before it counts as full."""


@dataclass(eq=False)
class _Line:
    """A connection with the channels that are promised on it."""

    connection: Connection
    used: int = 0
    served: bool = False
    refusals: int = 0
    rests_until: float = 0.0

    @property
    def transport(self) -> paramiko.Transport:
        transport = self.connection.transport
        assert isinstance(transport, paramiko.Transport)
        return transport

    @property
    def is_full(self) -> bool:
        return self.used >= CHANNELS or self.refusals >= REFUSALS

    @property
    def is_over(self) -> bool:
        """Dead, or with nothing but commands on it that we let go of and that will not end."""
        return not self.transport.is_active() or (self.used == 0 and self.refusals >= REFUSALS)

    def refuse(self, asked_at: float) -> None:
        """Note a refusal; several that were asked for at the same time count as one."""
        if asked_at >= self.rests_until:
            self.rests_until = time.monotonic() + min(FIRST_REST * 2**self.refusals, LONGEST_REST)
            self.refusals += 1


class Pool:
    """Channels on as few connections as will do; safe for many threads."""

    def __init__(self, name: str, log_in: Callable[[], Connection]) -> None:
        self._name = name
        self._log_in = log_in
        self._changed = threading.Condition()
        self._lines: list[_Line] = []
        self._logging_in = False
        self._no_login_before = 0.0
        self._failures = 0
        self._failure: HostError | None = None
        self.make_room: Callable[[], object] = lambda: None
        """Called where a caller has to wait, as others may hold channels that they can do without."""

    def open_channel(self) -> tuple[paramiko.Channel, Callable[[], None]]:
        """A session channel, and what is to be called when it is closed. Nothing has run on it.

        Raises HostError, with code `busy` when all channels were taken for QUEUE_TIMEOUT seconds.
        """
        deadline = time.monotonic() + QUEUE_TIMEOUT
        while True:
            line = self._slot(deadline)
            if line is None:
                self._add_line()
            elif channel := self._channel(line):
                return channel, partial(self._release, line)

    def close(self) -> None:
        """Close every connection; a later channel opens a new one."""
        with self._changed:
            for line in self._lines:
                hang_up(line.connection)
            self._lines.clear()
            self._changed.notify_all()

    def _slot(self, deadline: float) -> _Line | None:
        """A line with a slot that is the caller's from now on; None when the caller is to open a further line."""
        with self._changed:
            failures = self._failures
            while True:
                self._drop_lines_that_are_over()
                now = time.monotonic()
                for line in self._lines:
                    if line.used < CHANNELS and line.rests_until <= now:
                        line.used += 1
                        return line
                if self._failure is not None and self._failures > failures and not self._lines:
                    raise HostError(self._failure.message, self._failure.hint, code=self._failure.code)
                if self._may_log_in(now):
                    self._logging_in = True
                    return None
                if now >= deadline:
                    taken = sum(line.used for line in self._lines)
                    raise HostError(
                        f"{self._name} already runs {taken} lfgpods commands", "Run fewer at once.", code="busy"
                    )
                threading.Thread(target=self.make_room, name="lfgpods-make-room", daemon=True).start()
                rests = [line.rests_until for line in self._lines if line.rests_until > now]
                self._changed.wait(min([deadline, now + 1.0, *rests]) - now)  # nobody tells of a line that died

    def _may_log_in(self, now: float) -> bool:
        return (
            not self._logging_in
            and len(self._lines) < CONNECTIONS
            and all(line.is_full for line in self._lines)
            and (not self._lines or now >= self._no_login_before)
        )

    def _add_line(self) -> None:
        """Log in once more; a login that fails is an error only where there is no other line to wait for."""
        try:
            connection = self._log_in()
        except HostError as error:
            with self._changed:
                self._failures += 1
                self._failure = error
                self._no_login_before = time.monotonic() + LOGIN_PAUSE
                if not self._lines:
                    raise
        else:
            with self._changed:
                self._lines.append(_Line(connection))
        finally:
            with self._changed:
                self._logging_in = False
                self._changed.notify_all()

    def _channel(self, line: _Line) -> paramiko.Channel | None:
        """A session on a line; None, with the slot given back, where sshd's MaxSessions refuses it."""
        asked_at = time.monotonic()
        try:
            channel = line.transport.open_session(timeout=CHANNEL_TIMEOUT)
        except BaseException as error:
            self._release(line, refused_at=asked_at if _is_refusal(error, line.transport) else None)
            if not _is_refusal(error, line.transport):
                raise
            if not line.served and line.is_over:
                raise HostError(
                    f"{self._name} refuses every session",
                    "Check MaxSessions in its sshd_config, and that the account may run commands.",
                    code="login_refused",
                ) from error
            return None
        line.refusals = 0
        line.served = True
        return channel

    def _release(self, line: _Line, *, refused_at: float | None = None) -> None:
        with self._changed:
            line.used -= 1
            if refused_at is not None:
                line.refuse(refused_at)
            self._changed.notify_all()

    def _drop_lines_that_are_over(self) -> None:
        for line in [line for line in self._lines if line.is_over]:
            self._lines.remove(line)
            hang_up(line.connection)


def _is_refusal(error: BaseException, transport: paramiko.Transport) -> bool:
    """Whether sshd refused a session. Of two at once paramiko keeps one reason: the other is a bare SSHException."""
    if isinstance(error, paramiko.ChannelException):
        return True
    return isinstance(error, paramiko.SSHException) and transport.is_active() and "Timeout" not in str(error)
