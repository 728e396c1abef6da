"""Long-running programs in the host's network namespace: started detached, stopped by a verified pid.

A pid file holds the start time and the boot beside the pid, so a reused pid is never taken for ours.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import network
from tests.cluster.errors import ClusterError
from tests.cluster.paths import LOGS, PIDS
from tests.cluster.waiting import wait_until

ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"}
# The shell writes its own pid file and then becomes the program: there is no moment in which the program
# runs unrecorded, even if whoever starts it is killed.
_LAUNCHER = (
    "read -r stat </proc/$$/stat; read -r boot </proc/sys/kernel/random/boot_id; "
    'printf "%s\\n%s\\n" "$stat" "$boot" >"$0"; exec "$@"'
)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _state_and_start(stat: str) -> tuple[str, str]:
    """State letter and start time out of a line of /proc/PID/stat, whose name field may hold anything."""
    fields = stat.rpartition(")")[2].split()
    return fields[0], fields[19]


def _start_of_living(pid: int) -> str | None:
    try:
        state, start = _state_and_start(Path(f"/proc/{pid}/stat").read_text())
    except (OSError, IndexError):
        return None
    return None if state in "ZX" else start


@contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    """A handle on PID that can't slip to another process, or None if it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield handle
    finally:
        os.close(handle)


def _signal(handle: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def _ended(handle: int, timeout: float) -> bool:
    return bool(select.select([handle], [], [], timeout)[0])


def kill_all(pids: Iterable[int]) -> None:
    """End every process in PIDS at once, the hard way, without waiting for them to go."""
    for pid in pids:
        with _pidfd(pid) as handle:
            if handle is not None:
                _signal(handle, signal.SIGKILL)


@dataclass(frozen=True)
class Process:
    """One program of the cluster: what it is called and how it is started."""

    name: str
    argv: tuple[str, ...]
    namespace: Path = network.NAMESPACE_FILE
    """The network that it runs in."""

    @property
    def pid_file(self) -> Path:
        return PIDS / f"{self.name}.pid"

    @property
    def log(self) -> Path:
        return LOGS / f"{self.name}.log"

    def pid(self) -> int | None:
        """The pid it runs under, or None if it does not run."""
        try:
            stat, boot = self.pid_file.read_text().splitlines()
        except (OSError, ValueError):
            return None
        pid = int(stat.split(" ", 1)[0])
        same = boot == _boot_id() and _start_of_living(pid) == _state_and_start(stat)[1]
        return pid if same else None

    def start(self) -> None:
        """Start it unless it runs already. It outlives the caller; its output is added to its log."""
        if self.pid() is not None:
            return
        self.pid_file.unlink(missing_ok=True)
        inside = network.inside(*self.argv, namespace=self.namespace)
        argv = ["setsid", "--fork", "sh", "-c", _LAUNCHER, str(self.pid_file), *inside]
        with self.log.open("ab") as log:
            subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=ENVIRONMENT, check=True)
        if not wait_until(lambda: self.pid_file.exists() and self.pid_file.stat().st_size > 0, 10, 0.002):
            raise ClusterError(f"{self.name} was not started:\n{self.log_tail()}")

    def stop(self, grace: float = 5) -> None:
        """Ask it to end, kill it after GRACE seconds, and return once it is gone."""
        pid = self.pid()
        if pid is not None:
            with _pidfd(pid) as handle:
                # Asked again now that the handle holds it: in between the pid could have changed hands.
                if handle is not None and self.pid() == pid:
                    _signal(handle, signal.SIGTERM)
                    if not _ended(handle, grace):
                        _signal(handle, signal.SIGKILL)
                        if not _ended(handle, 10):
                            raise ClusterError(f"{self.name} (pid {pid}) does not end")
        self.pid_file.unlink(missing_ok=True)

    def rotate_log(self) -> None:
        """Begin a new log; the one before stays beside it."""
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.1"))

    def log_tail(self, lines: int = 25) -> str:
        """The last LINES of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"
