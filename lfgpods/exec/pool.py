"""Open shells in pods, kept for the next command. An open shell saves starting kubectl and costs milliseconds.

A reused shell gives the same guarantees as a new one. A shell that has ended, or may be dirty, is closed before any
part of a command is sent to it; the command then runs in a new one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from lfgpods.core.errors import HostUnreachableError
from lfgpods.exec.command import Invocation
from lfgpods.exec.shell import Shell, ShellIsGoneError
from lfgpods.hosts.base import Host
from lfgpods.kube.kubectl import Kubectl

MAX_IDLE = 8
"""How many shells may wait for their next command."""
QUEUE_TIMEOUT = 60.0
"""How long a caller waits for a free shell, in seconds."""


@dataclass(eq=False)
class _Idle:
    """An idle shell and the time it became idle."""

    namespace: str
    shell: Shell
    since: float = field(default_factory=time.monotonic)


class Checkout:
    """A shell that one caller has checked out of the pool: an idle one if there was one, else a new one.

    An idle shell is probed at once, so that its answer is on the way while the caller looks up its pod.
    """

    def __init__(self, kubectl: Kubectl, namespace: str, idle: Shell | None) -> None:
        self._kubectl = kubectl
        self._namespace = namespace
        self._shell = idle

    def probe(self) -> None:
        """Ask the idle shell whether it takes a command; `run` waits for the answer."""
        try:
            if self._shell:
                self._shell.probe()
        except ShellIsGoneError:
            self._drop()

    def run(self, pod: str, invocation: Invocation) -> int:
        """Run a command in the idle shell if it is one in POD, otherwise in a new one. Raises as `Shell.run`."""
        if self._shell and self._shell.pod == pod:
            with suppress(ShellIsGoneError):
                return self._shell.run(invocation)
        self._drop()
        self._shell = Shell(self._kubectl, self._namespace, pod)
        return self._shell.run(invocation)

    def end(self) -> Shell | None:
        """The shell, if it can be reused; closes it otherwise."""
        if self._shell and not self._shell.is_reusable:
            self._drop()
        return self._shell

    def _drop(self) -> None:
        if self._shell:
            self._shell.close()
            self._shell = None


class ShellPool:
    """The shells of one manager on HOST. Safe for many threads; no two use a shell at once."""

    def __init__(self, host: Host, kubectl: Kubectl, *, idle_seconds: float = 60.0) -> None:
        """A shell is closed when it has been idle for IDLE_SECONDS."""
        self._kubectl = kubectl
        self._name = host.name
        self._capacity = host.capacity
        self._idle_seconds = idle_seconds
        self._lock = threading.Lock()
        self._room, self._emptied = threading.Condition(self._lock), threading.Condition(self._lock)
        self._idle: list[_Idle] = []
        self._busy = 0
        self._sweeper: threading.Thread | None = None
        host.when_full(self._give_way)

    @contextmanager
    def checkout(self, namespace: str) -> Iterator[Checkout]:
        """Check out a shell in NAMESPACE.

        Raises HostUnreachableError `busy` if the host has no room for another one for QUEUE_TIMEOUT seconds.
        """
        checkout = Checkout(self._kubectl, namespace, self._take(namespace))
        try:
            checkout.probe()
            yield checkout
        finally:
            shell = checkout.end()
            self._give_back(_Idle(namespace, shell) if shell else None)

    def run(self, namespace: str, pod: str, invocation: Invocation) -> int:
        """Run one command in POD."""
        with self.checkout(namespace) as checkout:
            return checkout.run(pod, invocation)

    def close(self, namespace: str | None = None) -> None:
        """Close the idle shells, in NAMESPACE or everywhere."""
        with self._lock:
            closing = [idle for idle in self._idle if namespace in (None, idle.namespace)]
            self._idle = [idle for idle in self._idle if idle not in closing]
            self._emptied.notify()
        for idle in closing:
            idle.shell.close()

    def _take(self, namespace: str) -> Shell | None:
        """The idle shell in NAMESPACE that was used last; None if the caller is to open one."""
        deadline = time.monotonic() + QUEUE_TIMEOUT
        with self._lock:
            while True:
                idle_here = (idle for idle in reversed(self._idle) if idle.namespace == namespace)
                if found := next(idle_here, None):
                    self._idle.remove(found)
                    self._busy += 1
                    return found.shell
                if self._capacity is None or self._busy < self._capacity:
                    self._busy += 1
                    break
                left = deadline - time.monotonic()
                if left <= 0:
                    raise HostUnreachableError(
                        f"{self._name} already runs {self._busy} lfgpods commands", "Run fewer at once.", code="busy"
                    )
                self._room.wait(left)
            # Under the lock, as another caller could take that shell meanwhile.
            full = self._capacity is not None and self._busy + len(self._idle) > self._capacity
            closing = self._remove_oldest() if full else []
        for idle in closing:
            idle.shell.close()
        return None

    def _give_back(self, idle: _Idle | None) -> None:
        """Note that a caller is done; its shell, if it can be reused, is idle from now on."""
        closing = []
        with self._lock:
            self._busy -= 1
            if idle is not None:
                self._idle.append(idle)
                closing, self._idle = self._idle[:-MAX_IDLE], self._idle[-MAX_IDLE:]
                if self._sweeper is None:
                    self._sweeper = threading.Thread(target=self._sweep, name="lfgpods-shells", daemon=True)
                    self._sweeper.start()
            self._room.notify_all()
        for one in closing:
            one.shell.close()

    def _give_way(self) -> None:
        """Close the shell that has been idle longest, if any, so that the host has room for another command."""
        with self._lock:
            closing = self._remove_oldest()
        for idle in closing:
            idle.shell.close()

    def _remove_oldest(self) -> list[_Idle]:
        """Remove the shell that has been idle longest, if any, and return it."""
        closing, self._idle = self._idle[:1], self._idle[1:]
        return closing

    def _sweep(self) -> None:
        """Close each shell that has been idle for long enough. Ends when none is left."""
        while True:
            with self._lock:
                now = time.monotonic()
                closing = [idle for idle in self._idle if now - idle.since >= self._idle_seconds]
                self._idle = self._idle[len(closing) :]
                if not self._idle and not closing:
                    self._sweeper = None
                    return
                if not closing:
                    self._emptied.wait(self._idle[0].since + self._idle_seconds - now)
            for idle in closing:
                idle.shell.close()
