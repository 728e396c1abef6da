"""A TCP proxy that does one wrong thing at one byte of what passes: it cuts, stalls, delays or corrupts."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Literal

PAUSE = 1.0
"""Seconds that a delay takes."""

Direction = Literal["up", "down"]


class Trouble(StrEnum):
    CUT = "cut"
    RESET = "reset"
    STALL = "stall"
    DELAY = "delay"
    CORRUPT = "corrupt"


@dataclass(frozen=True)
class Fault:
    """TROUBLE once AFTER bytes have gone UP to the host or DOWN from it, over all connections together."""

    trouble: Trouble
    direction: Direction
    after: int


class Proxy:
    """Listens on a loopback port and passes everything on to HOST:PORT, but for its one FAULT.

    A stall keeps every socket open and passes nothing any more, on later connections neither.
    """

    def __init__(self, host: str, port: int, fault: Fault | None = None) -> None:
        self._target = (host, port)
        self._fault = fault
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._stalled = threading.Event()
        self._over = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        self.passed: dict[Direction, int] = {"up": 0, "down": 0}
        self.struck = threading.Event()

    def __enter__(self) -> Proxy:
        self._start(threading.Thread(target=self._accept, daemon=True))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(10)
        for end in self._sockets:
            end.close()

    def cut(self, *, reset: bool = False) -> None:
        """End every connection that is open now; with RESET as a machine does that knows of none."""
        with self._lock:
            ends = list(self._sockets)
        for end in ends:
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)

    def _start(self, thread: threading.Thread) -> None:
        with self._lock:
            self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                return
            server.settimeout(None)
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets += [client, server]
            self._start(threading.Thread(target=self._pass_on, args=(client, server, "up"), daemon=True))
            self._start(threading.Thread(target=self._pass_on, args=(server, client, "down"), daemon=True))

    def _pass_on(self, source: socket.socket, sink: socket.socket, direction: Direction) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._send(sink, data, direction)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _send(self, sink: socket.socket, data: bytes, direction: Direction) -> None:
        if self._stalled.is_set():
            self._over.wait()
        with self._lock:
            start = self.passed[direction]
            self.passed[direction] += len(data)
            fault = self._fault
            strikes = (
                fault is not None
                and not self.struck.is_set()
                and fault.direction == direction
                and start <= fault.after < start + len(data)
            )
            if strikes:
                self.struck.set()
        if fault is None or not strikes:
            sink.sendall(data)
            return
        before, rest = data[: fault.after - start], data[fault.after - start :]
        sink.sendall(before)
        if fault.trouble in (Trouble.CUT, Trouble.RESET):
            self.cut(reset=fault.trouble is Trouble.RESET)
            return
        if fault.trouble is Trouble.STALL:
            self._stalled.set()
            self._over.wait()
        elif fault.trouble is Trouble.DELAY:
            self._over.wait(PAUSE)
        elif fault.trouble is Trouble.CORRUPT:
            rest = bytes([rest[0] ^ 0x10]) + rest[1:]
        sink.sendall(rest)
