"""A transport that closes itself when its peer stops answering.

TCP_USER_TIMEOUT sees only data that nobody acknowledges, and paramiko's keepalive ignores a missing answer. Only a
question without an answer reveals a frozen sshd, behind a gateway or not.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import paramiko
from paramiko.packet import Packetizer

HEARTBEAT_INTERVAL = 2.0
"""Seconds."""
MAX_SILENT_HEARTBEATS = 5
"""Close the connection 10 to 12 s after the peer's last packet; the peer then had 8 s to answer a question.

Counts heartbeats, not seconds, so that a suspended lfgpods does not blame its peer.
"""
QUICKACK_PACKETS = 24
"""How many packets to acknowledge at once: those until the first command runs, and a few more."""

LOST = (OSError, EOFError, paramiko.SSHException)
"""What paramiko raises for a lost connection, depending on the step that notices it."""


class _Packetizer(Packetizer):
    """Notes each packet that arrives. Any packet proves that the peer lives: a slow link may delay the answer itself.

    Acknowledges the first packets at once, because sshd waits for that, and this end's kernel would take 40 ms each.
    """

    heard = False

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._socket = sock
        self._quickacks = QUICKACK_PACKETS if isinstance(sock, socket.socket) and hasattr(socket, "TCP_QUICKACK") else 0

    def read_message(self) -> tuple[int, paramiko.Message]:
        message = super().read_message()
        self.heard = True
        if self._quickacks:
            self._quickacks -= 1
            with contextlib.suppress(OSError):  # the socket has just been closed
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return message

    def close(self) -> None:
        # Behind a gateway the socket is a channel, which sends a message over a connection that may be lost.
        with contextlib.suppress(*LOST):
            super().close()


class WatchedTransport(paramiko.Transport):
    """A paramiko transport with a heartbeat: from `watch` on, until it closes."""

    def __init__(self, sock: Any, **options: Any) -> None:
        super().__init__(sock, packetizer_class=_Packetizer, **options)
        self._ended = threading.Event()

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._ended.set()

    def watch(self) -> None:
        """Start the heartbeat. Call it after the login: no server answers questions before."""
        threading.Thread(target=self._watch, name="lfgpods-heartbeat", daemon=True).start()

    def _watch(self) -> None:
        packetizer = self.packetizer
        assert isinstance(packetizer, _Packetizer)
        question: threading.Thread | None = None
        silent = 0
        while not self._ended.wait(HEARTBEAT_INTERVAL):
            silent = 0 if packetizer.heard else silent + 1
            packetizer.heard = False
            if silent == MAX_SILENT_HEARTBEATS:
                self.close()
                return
            if silent and (question is None or not question.is_alive()):
                # In a thread, because sending may block behind a stuck upload.
                question = threading.Thread(target=self._ask, name="lfgpods-question", daemon=True)
                question.start()

    def _ask(self) -> None:
        with contextlib.suppress(*LOST):  # the transport notices its own end
            self.global_request("keepalive@openssh.com", wait=True)
