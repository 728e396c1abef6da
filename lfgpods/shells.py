"""Open shells in pods, kept for the next command: a command in one costs milliseconds where a new one costs a kubectl.

Nothing is promised less in a shell that was used before. A shell that has ended, or may not be clean, is let go of
before anything of a command is sent to it, and the command then runs in a new one.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from lfgpods.errors import HostError
from lfgpods.hosts import Host
from lfgpods.kubectl import Kubectl
from lfgpods.podexec import Invocation, Shell, ShellIsGoneError

IDLE = 8
"""Shells that may wait for a next command."""
QUEUE_TIMEOUT = 60.0


@dataclass(eq=False)
class _Idle:
    """A shell that waits for a command since a moment."""

    namespace: str
    pod: str
    shell: Shell
    since: float = field(default_factory=time.monotonic)


class Shells:
    """The shells of one manager on HOST; safe for many threads, each of which has a shell of its own meanwhile."""

    def __init__(self, host: Host, kubectl: Kubectl, *, idle_seconds: float = 60.0) -> None:
        """A shell ends when it has waited for IDLE_SECONDS."""
        self._kubectl = kubectl
        self._name = host.name
        self._capacity = host.capacity
        self._idle_seconds = idle_seconds
        self._changed = threading.Condition()
        self._idle: list[_Idle] = []
        self._busy = 0
        self._sweeper: threading.Thread | None = None
        host.when_full(self._give_way)

    def run(self, namespace: str, pod: str, invocation: Invocation) -> int:
        """Run a command in a shell that waits in POD, or else in a new one. As `Shell.run`.

        Raises HostError, with code `busy`, where every shell that the host bears was taken for QUEUE_TIMEOUT seconds.
        """
        invocation.command.check()
        while True:
            shell = self._take(namespace, pod)
            is_clean = False
            try:
                shell = shell or Shell(self._kubectl, namespace, pod)
                code = shell.run(invocation)
                is_clean = shell.is_clean
                return code
            except ShellIsGoneError:
                continue
            finally:
                if shell and not is_clean:
                    shell.close()
                self._give_back(_Idle(namespace, pod, shell) if shell and is_clean else None)

    def close(self, namespace: str | None = None) -> None:
        """End the shells that wait, in NAMESPACE or everywhere."""
        with self._changed:
            leaving = [idle for idle in self._idle if namespace in (None, idle.namespace)]
            self._idle = [idle for idle in self._idle if idle not in leaving]
            self._changed.notify_all()
        for idle in leaving:
            idle.shell.close()

    def _take(self, namespace: str, pod: str) -> Shell | None:
        """The shell in POD that was used last; None where the caller is to open one."""
        deadline = time.monotonic() + QUEUE_TIMEOUT
        with self._changed:
            while True:
                waiting = (idle for idle in reversed(self._idle) if (idle.namespace, idle.pod) == (namespace, pod))
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
                self._changed.wait(left)
            # Now, as another caller could take the one that is to make room before it does.
            full = self._capacity is not None and self._busy + len(self._idle) > self._capacity
            leaving = self._without_longest() if full else []
        for idle in leaving:
            idle.shell.close()
        return None

    def _give_back(self, idle: _Idle | None) -> None:
        """A caller needs its shell no more; it waits from now on, if there is any left of it."""
        leaving = []
        with self._changed:
            self._busy -= 1
            if idle is not None:
                self._idle.append(idle)
                leaving, self._idle = self._idle[:-IDLE], self._idle[-IDLE:]
                if self._sweeper is None:
                    self._sweeper = threading.Thread(target=self._sweep, name="lfgpods-shells", daemon=True)
                    self._sweeper.start()
            self._changed.notify_all()
        for one in leaving:
            one.shell.close()

    def _give_way(self) -> None:
        """End the shell that has waited longest, if there is one, so that the host has room for something else."""
        with self._changed:
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
            with self._changed:
                now = time.monotonic()
                leaving = [idle for idle in self._idle if now - idle.since >= self._idle_seconds]
                self._idle = self._idle[len(leaving) :]
                if not self._idle and not leaving:
                    self._sweeper = None
                    return
                if not leaving:
                    self._changed.wait(self._idle[0].since + self._idle_seconds - now)
            for idle in leaving:
                idle.shell.close()
