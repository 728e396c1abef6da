"""A host over SSH: each command runs in a channel of its own, on one of a few connections.

Fabric connects, through the gateways in ssh_config. Commands run on raw channels, because Fabric's runner decodes,
rescans and replaces the output. Never retries a command that may have run.
"""

from __future__ import annotations

import logging
import secrets
import shlex
from collections.abc import Callable, Sequence
from functools import partial

import paramiko

from lfgpods.core.scripts import load_script
from lfgpods.core.settings import SshSettings
from lfgpods.hosts.ssh.connection import log_in
from lfgpods.hosts.ssh.errors import translated
from lfgpods.hosts.ssh.pool import CHANNELS, CONNECTIONS, ConnectionPool
from lfgpods.hosts.ssh.process import SshProcess

# Prints a token on both streams first: everything before it came from the start-up files of the login shell.
_RUN = 'echo "$0"; echo "$0" >&2; exec "$@"'

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # without a handler, paramiko prints tracebacks


class SshHost:
    """The Kubernetes host over SSH. Connects with the first command. Safe for many threads."""

    def __init__(self, settings: SshSettings, *, access_host: str | None = None, context: str | None = None) -> None:
        """CONTEXT is part of the host's name, as a host can have several clusters. kubectl gets it elsewhere."""
        self._settings = settings
        self._context = context
        self._access_host = access_host
        self._pool = ConnectionPool(self.name, partial(log_in, settings))

    @property
    def name(self) -> str:
        host, port = self._settings.host, self._settings.port
        place = host if port in (None, 22) else f"{host}:{port}"
        return f"{place} ({self._context})" if self._context else place

    @property
    def address(self) -> str:
        return self._access_host or self._settings.host

    @property
    def capacity(self) -> int:
        return CONNECTIONS * CHANNELS

    def when_full(self, make_room: Callable[[], object]) -> None:
        self._pool.make_room = make_room

    def open(self, argv: Sequence[str], *, ends_with_us: bool = False) -> SshProcess:
        token = secrets.token_hex(16)
        script = load_script(__file__, "run_while_stdin_is_open.sh") if ends_with_us else _RUN
        line = "exec " + shlex.join(["sh", "-c", script, token, *argv])
        try:
            channel, release = self._pool.open_channel()
            process = SshProcess(channel, token.encode() + b"\n", self.name, release)
            try:
                channel.exec_command(line)
            except BaseException:
                process.close()
                raise
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise translated(error, self.name, "this account") from error
        return process

    def close(self) -> None:
        self._pool.close()
