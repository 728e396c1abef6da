"""A transport that notices when its peer answers no more, and then ends.

TCP_USER_TIMEOUT sees only data that nobody acknowledges, and paramiko's keepalive does not mind a missing answer: a
frozen sshd, behind a gateway or not, is noticed only by asking it something and not hearing from it.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import paramiko
from paramiko.packet import Packetizer

BEAT = 2.0
SILENT_BEATS = 5
"""A peer is given up 10 to 12 s after its last packet; it then had 8 s to answer a question.

Beats are counted rather than seconds, so that a process which was itself stopped does not give up a peer for that.
"""


HASTE = 24
"""Packets until the first command runs, and a few more."""

LOST = (OSError, EOFError, paramiko.SSHException)
"""What paramiko raises for a connection that is gone, whichever step notices it."""


class _Listening(Packetizer):
    """Knows whether a packet came. Any packet will do: a slow link may be busy with more urgent ones than an answer.

    The first packets are acknowledged at once: sshd holds each back until the one before it is, for which the kernel
    of this end would take 40 ms.
    """

    heard = False

    def __init__(self, sock: Any) -> None:
        super().__init__(sock)
        self._socket = sock
        self._haste = HASTE if isinstance(sock, socket.socket) and hasattr(socket, "TCP_QUICKACK") else 0

    def read_message(self) -> tuple[int, paramiko.Message]:
        message = super().read_message()
        self.heard = True
        if self._haste:
            self._haste -= 1
            with contextlib.suppress(OSError):  # closed meanwhile
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return message

    def close(self) -> None:
        # Behind a gateway the socket is a channel, which says goodbye over a connection that may be gone by now.
        with contextlib.suppress(*LOST):
            super().close()


class WatchedTransport(paramiko.Transport):
    """A paramiko transport with a heartbeat, from `watch` on until it ends."""

    def __init__(self, sock: Any, **options: Any) -> None:
        super().__init__(sock, packetizer_class=_Listening, **options)
        self._ended = threading.Event()

    def run(self) -> None:
        try:
            super().run()
        finally:
            self._ended.set()

    def watch(self) -> None:
        """Begin the heartbeat; for a transport that is logged in, as no server answers questions before."""
        threading.Thread(target=self._watch, name="lfgpods-heartbeat", daemon=True).start()

    def _watch(self) -> None:
        listening = self.packetizer
        assert isinstance(listening, _Listening)
        question: threading.Thread | None = None
        silent = 0
        while not self._ended.wait(BEAT):
            silent = 0 if listening.heard else silent + 1
            listening.heard = False
            if silent == SILENT_BEATS:
                self.close()
                return
            if silent and (question is None or not question.is_alive()):
                # A thread of its own, as to send it may wait behind an upload that is stuck.
                question = threading.Thread(target=self._ask, name="lfgpods-question", daemon=True)
                question.start()

    def _ask(self) -> None:
        with contextlib.suppress(*LOST):  # the transport's own end tells the rest
            self.global_request("keepalive@openssh.com", wait=True)
