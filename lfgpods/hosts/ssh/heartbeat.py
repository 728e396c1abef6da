"""An SSH transport that closes when its peer stops answering.

Neither TCP_USER_TIMEOUT nor paramiko's keepalive detects a frozen sshd: TCP still acknowledges the data, and the
keepalive ignores a missing reply. So the heartbeat sends a question and waits for packets.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import paramiko
from paramiko.packet import Packetizer

HEARTBEAT_INTERVAL = 2.0
MISSED_HEARTBEATS = 5
"""Close the transport 10 to 12 s after the peer's last packet. The peer then had 8 s to answer.

Counts heartbeats, not seconds, so that a suspended lfgpods does not blame its peer.
"""

QUICKACK_PACKETS = 24
"""How many packets to acknowledge at once: the login, the first command and a few more."""

LOST = (OSError, EOFError, paramiko.SSHException)
"""The errors that paramiko raises when the connection is gone."""


class _WatchedPacketizer(Packetizer):
    """Notes that a packet came. Any packet counts: on a slow link the reply may queue behind other data.

    Acknowledges the first packets at once. sshd sends the next one only after the acknowledgement, which the kernel
    would delay by 40 ms.
    """

    heard = False

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._socket = sock
        can_quickack = isinstance(sock, socket.socket) and hasattr(socket, "TCP_QUICKACK")
        self._quickacks = QUICKACK_PACKETS if can_quickack else 0

    def read_message(self) -> tuple[int, paramiko.Message]:
        message = super().read_message()
        self.heard = True
        if self._quickacks:
            self._quickacks -= 1
            with contextlib.suppress(OSError):  # the socket may be closed by now
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return message

    def close(self) -> None:
        # Behind a gateway the socket is a channel. It sends a close message, and that connection may be gone.
        with contextlib.suppress(*LOST):
            super().close()


class WatchedTransport(paramiko.Transport):
    """A paramiko transport with a heartbeat, which starts with `watch`."""

    def __init__(self, sock: Any, **options: Any) -> None:
        super().__init__(sock, packetizer_class=_WatchedPacketizer, **options)
        self._ended = threading.Event()

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._ended.set()

    def watch(self) -> None:
        """Start the heartbeat. Call it after login: no server answers before."""
        threading.Thread(target=self._watch, name="lfgpods-heartbeat", daemon=True).start()

    def _watch(self) -> None:
        packetizer = self.packetizer
        assert isinstance(packetizer, _WatchedPacketizer)
        question: threading.Thread | None = None
        missed = 0
        while not self._ended.wait(HEARTBEAT_INTERVAL):
            missed = 0 if packetizer.heard else missed + 1
            packetizer.heard = False
            if missed == MISSED_HEARTBEATS:
                self.close()
                return
            if missed and (question is None or not question.is_alive()):
                # In its own thread: sending may block behind a stuck upload.
                question = threading.Thread(target=self._ask, name="lfgpods-question", daemon=True)
                question.start()

    def _ask(self) -> None:
        with contextlib.suppress(*LOST):  # the transport ends by itself then
            self.global_request("keepalive@openssh.com", wait=True)
