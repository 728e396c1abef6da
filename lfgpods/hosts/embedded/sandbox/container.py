"""Containers as processes of this machine: started to outlive their starter, looked at, entered and ended.

Where bubblewrap works, a container sees its own processes, host name, /tmp, /root and /home, its volumes, and the
rest of the machine read-only; it has the machine's network, and is root without any capability. Else it is a plain
process group, which isolates nothing, and /workspace is no path there: commands start in the volume's folder.
Memory is limited for each process (RLIMIT_DATA), not for the container as a whole; CPU is not limited.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lfgpods.core.processes import ProcessIdentity, identify
from lfgpods.hosts.embedded.sandbox.processes import processes_with, send_signal

log = logging.getLogger("lfgpods")

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MARK = "LFGPODS_CONTAINER"
START_TIMEOUT = 10.0
_OWN = ("/tmp", "/var/tmp", "/root", "/home", "/run")  # noqa: S108 - those of the container
_HIDDEN = ("/proc", "/dev", "/lost+found", *_OWN)
_KERNEL = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus")
_FIRST = 'ulimit -d "$1" 2>/dev/null; shift; echo started; exec "$@" >&2'
_ENTER = 'ulimit -d "$1" 2>/dev/null; cd "$2" || exit 1; shift 2; exec "$@"'
_KEEPER = 'ulimit -d "$1" 2>/dev/null; echo started; exec >&2; while :; do sleep 2147483647; done'


class StartError(Exception):
    """The container could not be started; the text says why, as kubelet would."""


@dataclass(frozen=True)
class Plan:
    """What a container is to be; `volumes` is the folder of this machine at each path in the container."""

    hostname: str
    command: tuple[str, ...]
    workdir: str
    environment: Mapping[str, str]
    volumes: Mapping[str, str]
    memory: int | None
    """Bytes for each of its processes."""


class Container:
    """A container that lives in FOLDER: its plan, its log and what became of it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def log(self) -> Path:
        return self._folder / "log"

    def start(self, plan: Plan, hidden: Path) -> None:
        """Start it, and return when its command runs; nothing under HIDDEN but its volumes is shown to it.

        Raises StartError. Where it is running already, because its starter ended too early, it is left as it is.
        """
        if self.identity() is None:
            self._start(plan, hidden, isolates())

    def can_be_entered(self, hidden: Path) -> bool:
        """Whether a sandbox can be made here and entered; it is ended again."""
        try:
            self._start(Plan("probe", ("sleep", "60"), "/", {}, {}, None), hidden, isolated=True)
            argv, variables = self.enter(["true"])
            return subprocess.run(argv, env=variables, capture_output=True, timeout=START_TIMEOUT).returncode == 0
        except (StartError, OSError, subprocess.SubprocessError):
            return False
        finally:
            self.end(signal.SIGKILL)

    def _start(self, plan: Plan, hidden: Path, isolated: bool) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        facts = {"plan": asdict(plan), "isolated": isolated}
        (self._folder / "container.json").write_text(json.dumps(facts))
        status = os.open(self._folder / "status", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with self.log.open("wb") as output:
                self._launch(plan, hidden, isolated, status, output.fileno())
        finally:
            os.close(status)

    def identity(self) -> ProcessIdentity | None:
        """The container's first process, once it was started; it may have ended."""
        try:
            return ProcessIdentity(**json.loads((self._folder / "identity.json").read_text()))
        except (OSError, ValueError, TypeError):
            pass
        pid = self._status().get("child-pid")
        found = identify(pid) if pid else None
        if found is not None and self._plausible(found):
            self._remember(found)
            return found
        return None

    def exit_code(self) -> int | None:
        """None while it runs."""
        identity = self.identity()
        if identity is None:
            return None if self._facts() else 137
        if identity.is_alive:
            return None
        deadline = time.monotonic() + (0.2 if self._facts().get("isolated") else 0.0)
        while (code := self._status().get("exit-code")) is None and time.monotonic() < deadline:
            threading.Event().wait(0.002)  # bubblewrap writes it just after the end
        return 137 if code is None else int(code)

    def has_ended(self) -> bool:
        """Whether none of its processes is left."""
        if self.exit_code() is None:
            return False
        return self._facts().get("isolated") is not False or not any(processes_with(self._mark))

    def wait(self, timeout: float = 5.0) -> None:
        """Wait until its first process has ended."""
        identity, deadline = self.identity(), time.monotonic() + timeout
        while identity is not None and identity.is_alive and time.monotonic() < deadline:
            threading.Event().wait(0.002)

    def end(self, number: int) -> None:
        """Send the signal NUMBER: to the first process of a sandbox, to every process of a plain group."""
        identity = self.identity()
        if self._facts().get("isolated"):
            if identity is not None:
                send_signal(identity, number)
            return
        if identity is not None:
            send_signal(identity, signal.SIGKILL)  # first, or it would put a new process in the place of one that ends
        for process in processes_with(self._mark):
            send_signal(process, number)

    def enter(self, argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """The command line and the environment that run ARGV in the container."""
        facts, identity = self._facts(), self.identity()
        plan = Plan(**facts["plan"])
        limit = _kilobytes(plan.memory)
        if facts["isolated"] and identity is not None:
            return [*_entrance(identity.pid), "sh", "-c", _ENTER, "sh", limit, plan.workdir, *argv], self._variables(
                plan
            )
        folder = outside(plan, plan.workdir)
        return ["sh", "-c", _ENTER, "sh", limit, folder, *argv], self._variables(plan, isolated=False)

    def find_program(self, program: str) -> str | None:
        """None where PROGRAM can be run in the container, else the reason why not, in the runtime's words."""
        facts = self._facts()
        plan = Plan(**facts["plan"])
        if "/" not in program:
            found = shutil.which(program, path=PATH if facts["isolated"] else None)
            return None if found else "executable file not found in $PATH"
        path = Path(outside(plan, program))
        if facts["isolated"] and str(path) == program and program.startswith(_HIDDEN):
            return None if not path.is_dir() else "permission denied"
        if not path.exists():
            return "no such file or directory"
        return None if path.is_file() and os.access(path, os.X_OK) else "permission denied"

    def _launch(self, plan: Plan, hidden: Path, isolated: bool, status: int, output: int) -> None:
        variables = self._variables(plan, isolated)
        if isolated:
            sandbox = _bubblewrap(plan, hidden, status)
            argv = [*_detach(), *sandbox, "--", "sh", "-c", _FIRST, "sh", _kilobytes(plan.memory), *plan.command]
            workdir = None
        else:
            # The command of the manifest is not run: `kill -1` in it would reach every process of this user.
            _warn_once()
            argv = [*_detach(), "sh", "-c", "echo $$; " + _KEEPER, "sh", _kilobytes(plan.memory)]
            workdir = outside(plan, plan.workdir)
        try:
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=output, env=variables,
                cwd=workdir, pass_fds=(status,), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise StartError(str(error)) from error
        with child:
            assert child.stdout is not None
            said = child.stdout.readline()
            if not isolated and said:
                os.write(status, json.dumps({"child-pid": int(said)}).encode())
                said = child.stdout.readline()
        if not said or self.identity() is None:
            raise StartError(self.log.read_text(errors="replace").strip() or "it ended at once")

    @property
    def _mark(self) -> str:
        return f"{MARK}={self._folder}"

    def _variables(self, plan: Plan, isolated: bool = True) -> dict[str, str]:
        own = {"PATH": PATH, "HOME": "/root", "HOSTNAME": plan.hostname}
        if not isolated:
            name, _, value = self._mark.partition("=")
            own = {**os.environ, name: value, "LFGPODS_WORKSPACE": outside(plan, "/workspace")}
        return {**own, **plan.environment}

    def _facts(self) -> dict[str, Any]:
        """The plan and whether it is isolated; nothing once the container's folder was removed."""
        try:
            facts: dict[str, Any] = json.loads((self._folder / "container.json").read_text())
        except FileNotFoundError:
            return {}
        facts["plan"]["command"] = tuple(facts["plan"]["command"])
        return facts

    def _status(self) -> dict[str, Any]:
        """What bubblewrap wrote: a JSON document when it began and another one at the end."""
        found: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            for line in (self._folder / "status").read_text().splitlines():
                found.update(json.loads(line))
        return found

    def _plausible(self, found: ProcessIdentity) -> bool:
        """Whether FOUND began before its number was written down, and so cannot be a later user of the number."""
        ticks = os.sysconf("SC_CLK_TCK")
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - found.started / ticks
        return time.time() - age <= (self._folder / "status").stat().st_mtime + 0.5

    def _remember(self, identity: ProcessIdentity) -> None:
        draft = self._folder / f"identity.{os.getpid()}"
        draft.write_text(json.dumps(asdict(identity)))
        draft.replace(self._folder / "identity.json")


def outside(plan: Plan, path: str) -> str:
    """Where on this machine PATH of a container lies."""
    for mounted, folder in plan.volumes.items():
        if path == mounted or path.startswith(mounted.rstrip("/") + "/"):
            return folder + path[len(mounted.rstrip("/")) :]
    return path


def _kilobytes(memory: int | None) -> str:
    return "unlimited" if memory is None else str(max(1, memory // 1024))


def _detach() -> list[str]:
    """So that the process is nobody's child who might wait for it, or be waited for."""
    if shutil.which("setsid"):
        return ["setsid", "-f"]
    return ["sh", "-c", '"$@" &', "sh"]


def _bubblewrap(plan: Plan, hidden: Path, status: int) -> list[str]:
    argv = ["bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--uid", "0", "--gid", "0"]
    argv += ["--cap-drop", "ALL"]
    argv += ["--hostname", plan.hostname[:63], "--as-pid-1", "--json-status-fd", str(status)]
    for entry in sorted(Path("/").iterdir()):
        path = str(entry)
        if path in _HIDDEN or path in plan.volumes:
            continue
        if entry.is_symlink():
            argv += ["--symlink", os.readlink(path), path]
        elif entry.is_dir():
            argv += ["--ro-bind", path, path]
    argv += ["--proc", "/proc", "--dev", "/dev"]
    for path in _KERNEL:
        argv += ["--ro-bind-try", path, path]
    for path in _OWN:
        argv += ["--perms", "1777" if path.endswith("tmp") else "0755", "--tmpfs", path]
    argv += _name_resolution()
    if not str(hidden).startswith(tuple(f"{path}/" for path in _HIDDEN)):
        argv += ["--tmpfs", str(hidden)]
    for mounted, folder in plan.volumes.items():
        argv += ["--bind", folder, mounted]
    argv += ["--dir", plan.workdir] if plan.workdir != "/" else []
    return [*argv, "--remount-ro", "/", "--chdir", plan.workdir]


def _name_resolution() -> list[str]:
    target = os.path.realpath("/etc/resolv.conf")
    return ["--ro-bind-try", target, target] if target.startswith("/run/") else []


def _entrance(pid: int) -> list[str]:
    """Into the namespaces of PID, and without any capability there."""
    namespaces = ["-U", "-m", "-p", "-u", "-i"]
    return [
        *("nsenter", "--preserve-credentials", *namespaces, "-t", str(pid), "--"),
        *("setpriv", "--bounding-set=-all", "--no-new-privs", "--"),
    ]


@functools.cache
def isolates() -> bool:
    """Whether bubblewrap and what enters its sandboxes work on this machine; tried once."""
    if not all(map(shutil.which, ("bwrap", "nsenter", "setpriv", "setsid"))):
        return False
    with tempfile.TemporaryDirectory() as folder:
        return Container(Path(folder, "probe")).can_be_entered(Path(folder))


@functools.cache
def _warn_once() -> None:
    log.warning(
        "bubblewrap (bwrap) is missing or may not make sandboxes here: embedded pods are plain processes of this "
        "user, started in their volume. Nothing isolates them from this machine."
    )
