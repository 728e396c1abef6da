"""Containers as processes of this machine. They outlive the process that starts them.

With bubblewrap, a container has its own processes, host name, /tmp, /root and /home, sees its volumes and the rest of
the machine read-only, shares the network, and is root without capabilities. Without bubblewrap, it is a plain process
group that isolates nothing and has no /workspace: commands start in the folder of the volume. The memory limit
applies to each process (RLIMIT_DATA), not to the whole container; there is no CPU limit.
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
MARKER = "LFGPODS_CONTAINER"
START_TIMEOUT = 10.0
_PRIVATE = ("/tmp", "/var/tmp", "/root", "/home", "/run")  # noqa: S108 - those of the container
_NOT_SHARED = ("/proc", "/dev", "/lost+found", *_PRIVATE)
_KERNEL_FILES = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus")
_START_SCRIPT = 'ulimit -d "$1" 2>/dev/null; shift; echo started; exec "$@" >&2'
_EXEC_SCRIPT = 'ulimit -d "$1" 2>/dev/null; cd "$2" || exit 1; shift 2; exec "$@"'
_PAUSE_SCRIPT = 'ulimit -d "$1" 2>/dev/null; echo started; exec >&2; while :; do sleep 2147483647; done'


class StartError(Exception):
    """The container could not be started; the text is the reason, in kubelet's words."""


@dataclass(frozen=True)
class Plan:
    """The plan of a container; `volumes` maps paths in the container to folders on this machine."""

    hostname: str
    command: tuple[str, ...]
    workdir: str
    environment: Mapping[str, str]
    volumes: Mapping[str, str]
    memory: int | None
    """The memory limit of each process, in bytes."""


class Container:
    """The container whose plan, log and status are in FOLDER."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def log(self) -> Path:
        return self._folder / "log"

    def start(self, plan: Plan, hidden: Path) -> None:
        """Start the container and return when its command runs. It sees nothing below HIDDEN except its volumes.

        Does nothing if it already runs, because the process that started it died too early. Raises StartError.
        """
        if self.identity() is None:
            self._start(plan, hidden, isolates())

    def can_be_entered(self, hidden: Path) -> bool:
        """Whether a sandbox can be started and entered on this machine. Tries it, and ends the sandbox."""
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
        config = {"plan": asdict(plan), "isolated": isolated}
        (self._folder / "container.json").write_text(json.dumps(config))
        status = os.open(self._folder / "status", os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with self.log.open("wb") as output:
                self._launch(plan, hidden, isolated, status, output.fileno())
        finally:
            os.close(status)

    def identity(self) -> ProcessIdentity | None:
        """The first process of the container, running or not; None before the start."""
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
        """The exit code of the first process, or None while it runs."""
        identity = self.identity()
        if identity is None and "child-pid" not in self._status():
            return None if self._config() else 137
        if identity is not None and identity.is_alive:
            return None
        deadline = time.monotonic() + (0.2 if self._config().get("isolated") else 0.0)
        while (code := self._status().get("exit-code")) is None and time.monotonic() < deadline:
            threading.Event().wait(0.002)  # bubblewrap writes it just after the process exits
        return 137 if code is None else int(code)

    def has_ended(self) -> bool:
        """Whether all processes of the container have ended."""
        if self.exit_code() is None:
            return False
        return self._config().get("isolated") is not False or not any(processes_with(self._marker))

    def wait(self, timeout: float = 5.0) -> None:
        """Wait up to TIMEOUT seconds for the first process to end."""
        identity, deadline = self.identity(), time.monotonic() + timeout
        while identity is not None and identity.is_alive and time.monotonic() < deadline:
            threading.Event().wait(0.002)

    def end(self, number: int) -> None:
        """Send the signal NUMBER to the first process of a sandbox, or to every process of a plain container."""
        identity = self.identity()
        if self._config().get("isolated"):
            if identity is not None:
                send_signal(identity, number)
            return
        if identity is not None:
            send_signal(identity, signal.SIGKILL)  # before the others, because it restarts them
        for process in processes_with(self._marker):
            send_signal(process, number)

    def enter(self, argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
        """The command line and environment that run ARGV in the container."""
        config, identity = self._config(), self.identity()
        plan = Plan(**config["plan"])
        limit = _kilobytes(plan.memory)
        if config["isolated"] and identity is not None:
            return [
                *_nsenter(identity.pid),
                "sh",
                "-c",
                _EXEC_SCRIPT,
                "sh",
                limit,
                plan.workdir,
                *argv,
            ], self._variables(plan)
        folder = host_path(plan, plan.workdir)
        return ["sh", "-c", _EXEC_SCRIPT, "sh", limit, folder, *argv], self._variables(plan, isolated=False)

    def find_program(self, program: str) -> str | None:
        """None if PROGRAM can run in the container; otherwise the reason, in the container runtime's words."""
        config = self._config()
        plan = Plan(**config["plan"])
        if "/" not in program:
            found = shutil.which(program, path=PATH if config["isolated"] else None)
            return None if found else "executable file not found in $PATH"
        path = Path(host_path(plan, program))
        if config["isolated"] and str(path) == program and program.startswith(_NOT_SHARED):
            return None if not path.is_dir() else "is a directory"
        if not path.exists():
            return "no such file or directory"
        if path.is_dir():
            return "is a directory"
        return None if path.is_file() and os.access(path, os.X_OK) else "permission denied"

    def _launch(self, plan: Plan, hidden: Path, isolated: bool, status: int, output: int) -> None:
        variables = self._variables(plan, isolated)
        if isolated:
            sandbox = _bubblewrap(plan, hidden, status)
            argv = [*_detach(), *sandbox, "--", "sh", "-c", _START_SCRIPT, "sh", _kilobytes(plan.memory), *plan.command]
            workdir = None
        else:
            # The manifest's own command does not run: a `kill -1` in it would reach every process of this user.
            _warn_not_isolated()
            argv = [*_detach(), "sh", "-c", "echo $$; " + _PAUSE_SCRIPT, "sh", _kilobytes(plan.memory)]
            workdir = host_path(plan, plan.workdir)
        try:
            child = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=output, env=variables,
                cwd=workdir, pass_fds=(status,), start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise StartError(str(error)) from error
        with child:
            assert child.stdout is not None
            line = child.stdout.readline()
            if not isolated and line:
                os.write(status, json.dumps({"child-pid": int(line)}).encode())
                line = child.stdout.readline()
        if not line or (self.identity() is None and "child-pid" not in self._status()):
            raise StartError(self.log.read_text(errors="replace").strip() or "the container exited at once")

    @property
    def _marker(self) -> str:
        return f"{MARKER}={self._folder}"

    def _variables(self, plan: Plan, isolated: bool = True) -> dict[str, str]:
        own = {"PATH": PATH, "HOME": "/root", "HOSTNAME": plan.hostname}
        if not isolated:
            name, _, value = self._marker.partition("=")
            own = {**os.environ, name: value, "LFGPODS_WORKSPACE": host_path(plan, "/workspace")}
        return {**own, **plan.environment}

    def _config(self) -> dict[str, Any]:
        """The plan, and whether the container is isolated. Empty if the folder has been removed."""
        try:
            config: dict[str, Any] = json.loads((self._folder / "container.json").read_text())
        except FileNotFoundError:
            return {}
        config["plan"]["command"] = tuple(config["plan"]["command"])
        return config

    def _status(self) -> dict[str, Any]:
        """The status from bubblewrap: it writes one JSON document at the start and one at the end."""
        found: dict[str, Any] = {}
        with contextlib.suppress(OSError, ValueError):
            for line in (self._folder / "status").read_text().splitlines():
                found.update(json.loads(line))
        return found

    def _plausible(self, found: ProcessIdentity) -> bool:
        """Whether FOUND started before its pid was written, so that it cannot be a later process with the same pid."""
        ticks = os.sysconf("SC_CLK_TCK")
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - found.started / ticks
        return time.time() - age <= (self._folder / "status").stat().st_mtime + 0.5

    def _remember(self, identity: ProcessIdentity) -> None:
        draft = self._folder / f"identity.{os.getpid()}"
        draft.write_text(json.dumps(asdict(identity)))
        draft.replace(self._folder / "identity.json")


def host_path(plan: Plan, path: str) -> str:
    """The path on this machine of PATH in a container."""
    for mounted, folder in plan.volumes.items():
        if path == mounted or path.startswith(mounted.rstrip("/") + "/"):
            return folder + path[len(mounted.rstrip("/")) :]
    return path


def _kilobytes(memory: int | None) -> str:
    return "unlimited" if memory is None else str(max(1, memory // 1024))


def _detach() -> list[str]:
    """Detach the process, so that no parent has to wait for it."""
    if shutil.which("setsid"):
        return ["setsid", "-f"]
    return ["sh", "-c", '"$@" &', "sh"]


def _bubblewrap(plan: Plan, hidden: Path, status: int) -> list[str]:
    argv = ["bwrap", "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--uid", "0", "--gid", "0"]
    argv += ["--cap-drop", "ALL"]
    argv += ["--hostname", plan.hostname[:63], "--as-pid-1", "--json-status-fd", str(status)]
    for entry in sorted(Path("/").iterdir()):
        path = str(entry)
        if path in _NOT_SHARED or path in plan.volumes:
            continue
        if entry.is_symlink():
            argv += ["--symlink", os.readlink(path), path]
        elif entry.is_dir():
            argv += ["--ro-bind", path, path]
    argv += ["--proc", "/proc", "--dev", "/dev"]
    for path in _KERNEL_FILES:
        argv += ["--ro-bind-try", path, path]
    for path in _PRIVATE:
        argv += ["--perms", "1777" if path.endswith("tmp") else "0755", "--tmpfs", path]
    argv += _bind_resolver()
    if not str(hidden).startswith(tuple(f"{path}/" for path in _NOT_SHARED)):
        argv += ["--tmpfs", str(hidden)]
    for mounted, folder in plan.volumes.items():
        argv += ["--bind", folder, mounted]
    argv += ["--dir", plan.workdir] if plan.workdir != "/" else []
    return [*argv, "--remount-ro", "/", "--chdir", plan.workdir]


def _bind_resolver() -> list[str]:
    target = os.path.realpath("/etc/resolv.conf")
    return ["--ro-bind-try", target, target] if target.startswith("/run/") else []


def _nsenter(pid: int) -> list[str]:
    """Enter the namespaces of PID without capabilities."""
    namespaces = ["-U", "-m", "-p", "-u", "-i"]
    return [
        *("nsenter", "--preserve-credentials", *namespaces, "-t", str(pid), "--"),
        *("setpriv", "--bounding-set=-all", "--no-new-privs", "--"),
    ]


@functools.cache
def isolates() -> bool:
    """Whether bubblewrap, nsenter, setpriv and setsid work on this machine. The result is cached."""
    if not all(map(shutil.which, ("bwrap", "nsenter", "setpriv", "setsid"))):
        return False
    with tempfile.TemporaryDirectory() as folder:
        return Container(Path(folder, "probe")).can_be_entered(Path(folder))


@functools.cache
def _warn_not_isolated() -> None:
    log.warning(
        "bubblewrap (bwrap) is missing or may not create sandboxes here: embedded pods are plain processes of this "
        "user in the folder of their volume. Nothing isolates them from this machine."
    )
