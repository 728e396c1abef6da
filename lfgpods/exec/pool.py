"""Open shells in pods, kept for the next command: a command in one costs milliseconds where a new one costs a kubectl.

Nothing is promised less in a shell that was used before. A shell that has ended, or may not be clean, is let go of
before anything of a command is sent to it, and the command then runs in a new one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from lfgpods.core.errors import HostError
from lfgpods.exec.command import Invocation
from lfgpods.exec.shell import Shell, ShellIsGoneError
from lfgpods.hosts.base import Host
from lfgpods.kube.kubectl import Kubectl

IDLE = 8
"""ShellPool that may wait for a next command."""
QUEUE_TIMEOUT = 60.0


@dataclass(eq=False)
class _Idle:
    """A shell that waits for a command since a moment."""

    namespace: str
    shell: Shell
    since: float = field(default_factory=time.monotonic)


class Turn:
    """One caller's place among the shells, with the one that waited for it, if any.

    That is asked at once, so that its answer is on its way while the caller finds out in which pod to run a command.
    """

    def __init__(self, kubectl: Kubectl, namespace: str, waiting: Shell | None) -> None:
        self._kubectl = kubectl
        self._namespace = namespace
        self._shell = waiting

    def ask(self) -> None:
        """Ask the shell that waited whether it takes a command; its answer is for `run` to wait for."""
        try:
            if self._shell:
                self._shell.ask()
        except ShellIsGoneError:
            self._drop()

    def run(self, pod: str, invocation: Invocation) -> int:
        """Run a command in the shell that waited, if it is one in POD, or else in a new one. As `Shell.run`."""
        if self._shell and self._shell.pod == pod:
            with suppress(ShellIsGoneError):
                return self._shell.run(invocation)
        self._drop()
        self._shell = Shell(self._kubectl, self._namespace, pod)
        return self._shell.run(invocation)

    def end(self) -> Shell | None:
        """The shell, if it can take a next command; any other is let go of."""
        if self._shell and not self._shell.is_clean:
            self._drop()
        return self._shell

    def _drop(self) -> None:
        if self._shell:
            self._shell.close()
            self._shell = None


class ShellPool:
    """The shells of one manager on HOST; safe for many threads, each of which has a shell of its own meanwhile."""

    def __init__(self, host: Host, kubectl: Kubectl, *, idle_seconds: float = 60.0) -> None:
        """A shell ends when it has waited for IDLE_SECONDS."""
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
    def turn(self, namespace: str) -> Iterator[Turn]:
        """A caller's turn to run a command in NAMESPACE.

        Raises HostError, with code `busy`, where every shell that the host bears was taken for QUEUE_TIMEOUT seconds.
        """
        turn = Turn(self._kubectl, namespace, self._take(namespace))
        try:
            turn.ask()
            yield turn
        finally:
            shell = turn.end()
            self._give_back(_Idle(namespace, shell) if shell else None)

    def run(self, namespace: str, pod: str, invocation: Invocation) -> int:
        """Run a command in POD, in a turn of its own."""
        with self.turn(namespace) as turn:
            return turn.run(pod, invocation)

    def close(self, namespace: str | None = None) -> None:
        """End the shells that wait, in NAMESPACE or everywhere."""
        with self._lock:
            leaving = [idle for idle in self._idle if namespace in (None, idle.namespace)]
            self._idle = [idle for idle in self._idle if idle not in leaving]
            self._emptied.notify()
        for idle in leaving:
            idle.shell.close()

    def _take(self, namespace: str) -> Shell | None:
        """The shell in NAMESPACE that was used last; None where the caller is to open one."""
        deadline = time.monotonic() + QUEUE_TIMEOUT
        with self._lock:
            while True:
                waiting = (idle for idle in reversed(self._idle) if idle.namespace == namespace)
                if found := next(waiting, None):
                    self._idle.remove(found)
                    self._busy += 1
                    return found.shell
                if self._capacity is None or self._busy < self._capacity:
                    self._busy += 1
                    break
                left = deadline - time.monotonic()
                if left <= 0:
                    raise HostError(
                        f"{self._name} is busy with {self._busy} commands of ours", "Run fewer at once.", code="busy"
                    )
                self._room.wait(left)
            # Now, as another caller could take the one that is to make room before it does.
            full = self._capacity is not None and self._busy + len(self._idle) > self._capacity
            leaving = self._without_longest() if full else []
        for idle in leaving:
            idle.shell.close()
        return None

    def _give_back(self, idle: _Idle | None) -> None:
        """A caller needs its shell no more; it waits from now on, if there is any left of it."""
        leaving = []
        with self._lock:
            self._busy -= 1
            if idle is not None:
                self._idle.append(idle)
                leaving, self._idle = self._idle[:-IDLE], self._idle[-IDLE:]
                if self._sweeper is None:
                    self._sweeper = threading.Thread(target=self._sweep, name="lfgpods-shells", daemon=True)
                    self._sweeper.start()
            self._room.notify_all()
        for one in leaving:
            one.shell.close()

    def _give_way(self) -> None:
        """End the shell that has waited longest, if there is one, so that the host has room for something else."""
        with self._lock:
            leaving = self._without_longest()
        for idle in leaving:
            idle.shell.close()

    def _without_longest(self) -> list[_Idle]:
        """The shell that has waited longest, if there is one, which from now on does so no more."""
        leaving, self._idle = self._idle[:1], self._idle[1:]
        return leaving

    def _sweep(self) -> None:
        """End each shell that has waited long enough; ends when none waits."""
        while True:
            with self._lock:
                now = time.monotonic()
                leaving = [idle for idle in self._idle if now - idle.since >= self._idle_seconds]
                self._idle = self._idle[len(leaving) :]
                if not self._idle and not leaving:
                    self._sweeper = None
                    return
                if not leaving:
                    self._emptied.wait(self._idle[0].since + self._idle_seconds - now)
            for idle in leaving:
                idle.shell.close()
