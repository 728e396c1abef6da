"""The whole cluster as one object: bring it up from any state, ask it, disturb it, take it away."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from tests.cluster import (
    accounts,
    api,
    builds,
    certificates,
    configuration,
    images,
    kubectl,
    leftovers,
    machine,
    metrics,
    network,
    packages,
    second,
)
from tests.cluster.errors import ClusterError
from tests.cluster.paths import CONFIG, HOST_BIN, LOCK, LOGS, PIDS, STATE
from tests.cluster.programs import SSH_PORT, Program, all_programs
from tests.cluster.waiting import wait_until

_FINGERPRINT = STATE / "fingerprint"
Report = Callable[[str], None]


def _quiet(line: str) -> None:
    """The report of a caller who wants none."""


@contextmanager
def _locked(report: Report) -> Iterator[None]:
    """One change of the cluster at a time, on the whole machine; a killed holder's lock goes with it."""
    import fcntl  # not on every system that imports this module

    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report("waiting for another up or down")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


class Cluster:
    """A Kubernetes of one node, or two for a while, with an SSH server, behind a network address of its own on this machine."""

    def __init__(self, report: Report = _quiet) -> None:
        self.report = report
        self.programs = all_programs()

    def up(self, nodes: int | None = None) -> None:
        """Return once the cluster is healthy, having done only what that needed. Raises ClusterError.

        With NODES it has as many, one or two: the second comes and goes while the first goes on.
        """
        self._up()
        if nodes is not None:
            with _locked(self.report):
                self._set_second(wanted=nodes > 1)

    def _set_second(self, *, wanted: bool) -> None:
        if wanted and not (second.is_there() and second.is_ready()):
            self.report("adding the second node")
            second.add()
            self.report("the second node is Ready")
        elif not wanted and second.is_there():
            self.report("taking the second node away")
            second.remove()

    def _up(self) -> None:
        reason = machine.unsupported()
        if reason:
            raise ClusterError(reason)
        if not self._is_current():
            with _locked(self.report):
                if not self._is_current() and not self._mend():
                    self._start_anew()
        if not kubectl.is_installed():
            self.report(f"the host's kubectl is now {kubectl.install()}")
        self.report("the cluster is up")

    def down(self) -> None:
        """End every process of the cluster and remove all it left, its logs and the cached images excepted."""
        with _locked(self.report):
            self.report("ending every process, removing namespace, mounts, accounts and data")
            self._remove()
            accounts.remove_accounts()
        self.report("the cluster is down")

    def problems(self) -> list[str]:
        """Everything that keeps the cluster from being healthy, the nearest cause first."""
        silent = [f"{name} does not run" for name in self._stopped()]
        silent = silent or [f"{name} does not answer" for name in self._silent()]
        missing = None if silent else api.what_is_missing()
        return [missing] if missing else silent

    def healthy(self) -> bool:
        """Whether every program answers, the node is Ready and a new pod would be taken."""
        return not self.problems()

    def settings(self) -> dict[str, str]:
        """The environment with which lfgpods manages this cluster."""
        return {
            "K8S_SSH_HOST": network.HOST_ADDRESS,
            "K8S_SSH_PORT": str(SSH_PORT),
            "K8S_SSH_USERNAME": configuration.ROOT_ACCOUNT,
            "K8S_SSH_KEY_FILE": str(accounts.KEY),
            "K8S_SSH_KNOWN_HOSTS": str(accounts.KNOWN_HOSTS),
        }

    def kubectl(self, *argv: str, stdin: str = "") -> str:
        """Run kubectl as kubernetes-admin on the host, without SSH, and return its stdout."""
        return kubectl.run(*argv, stdin=stdin)

    def pause(self, program: str) -> None:
        """Stop one program, of the second node with -2, as if it had crashed; the others go on."""
        self._program(program).process.stop(grace=1)

    def resume(self, program: str) -> None:
        """Start a stopped program again and return once it answers."""
        self._program(program).process.start()
        self._program(program).wait_ready()

    def _program(self, name: str) -> Program:
        found = {**self.programs, **second.programs()}
        if name not in found:
            raise ClusterError(f"no program {name}; there are {', '.join(found)}")
        return found[name]

    def _stopped(self) -> list[str]:
        return [name for name, program in self.programs.items() if program.process.pid() is None]

    def _silent(self) -> list[str]:
        return [name for name, program in self.programs.items() if not program.answers()]

    def _is_current(self) -> bool:
        return self.healthy() and self._was_started_as_described()

    def _was_started_as_described(self) -> bool:
        try:
            return _FINGERPRINT.read_text() == self._fingerprint()
        except OSError:
            return False

    def _fingerprint(self) -> str:
        """Changes with everything the cluster is made of: a cluster of an older description is not healed."""
        parts = [program.process.argv for program in self.programs.values()], configuration.files()
        paths = [archive.path for archive in images.archives()]
        return hashlib.sha256(repr((parts, paths)).encode()).hexdigest()

    def _mend(self) -> bool:
        """Heal a cluster of which something still runs, keeping what is in it; False if that did not help."""
        stopped = self._stopped()
        if len(stopped) == len(self.programs) or not network.exists() or not self._was_started_as_described():
            return False
        try:
            network.connect()
            self._start(*stopped)
            # Busy is not broken: a program that is only slow must not be taken away from those who use it.
            if not wait_until(self.healthy, 20):
                silent = self._silent()
                self.report(f"restarting what does not answer: {' '.join(silent)}")
                for name in silent:
                    self.programs[name].process.stop()
                self._start(*silent)
            self._wait_healthy(40)
        except ClusterError as error:
            self.report(f"it can't be mended, so it is made anew: {error}")
            return False
        return True

    def _start_anew(self) -> None:
        self.report("installing the Debian packages that are missing")
        packages.install(*packages.OF_THE_CLUSTER)
        builds.make_all(self.report)
        missing = [archive for archive in images.archives() if not archive.path.exists()]
        for archive in missing:
            self.report(f"making the {archive.name} images (once for a recipe)")
            archive.ensure()
        self.report("removing what an earlier cluster left")
        self._remove()
        self.report("making the network, certificates, accounts and configuration")
        self._prepare()
        self._start_programs()
        self._wait_healthy(60)
        _FINGERPRINT.write_text(self._fingerprint())

    def _remove(self) -> None:
        _FINGERPRINT.unlink(missing_ok=True)
        for program in self.programs.values():
            program.process.stop(grace=0)
        if second.is_there():
            second.remove()
        leftovers.remove()

    def _prepare(self) -> None:
        for folder in (STATE, HOST_BIN, CONFIG, LOGS, PIDS):
            folder.mkdir(parents=True, exist_ok=True)
        for program in self.programs.values():
            program.process.rotate_log()
        network.create()
        leftovers.make_groups()
        certificates.create()
        for path, text in configuration.files().items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        accounts.make_keys()
        accounts.make_accounts()
        self.report(f"the host's kubectl is {kubectl.install()}")

    def _start(self, *names: str) -> None:
        """Start the programs NAMES side by side and return once all of them answer."""
        began = time.monotonic()
        for name in names:
            self.programs[name].process.start()
        for name in names:
            self.programs[name].wait_ready()
            self.report(f"{name} answers ({time.monotonic() - began:.1f} s)")

    def _start_programs(self) -> None:
        with ThreadPoolExecutor(max_workers=1) as background:
            self._start("etcd", "containerd")
            imported = [background.submit(images.import_archive, archive.path) for archive in images.archives()]
            self._start("kube-apiserver")
            metrics.register()
            self._start(*(name for name in self.programs if name not in ("etcd", "containerd", "kube-apiserver")))
            if not wait_until(lambda: api.give_pods(certificates.NODE, network.NODE_PODS), 60):
                raise ClusterError(f"no node registered:\n{self.programs['kubelet'].process.log_tail()}")
            for archive in imported:
                archive.result()

    def _wait_healthy(self, timeout: float) -> None:
        began = time.monotonic()
        if not wait_until(self.healthy, timeout):
            problems = self.problems()
            logs = [f"{name}:\n{self.programs[name].process.log_tail()}" for name in self._to_blame(problems)]
            raise ClusterError("\n".join([f"not healthy after {timeout:.0f} s: {'; '.join(problems)}", *logs]))
        self.report(f"the node is Ready and takes pods ({time.monotonic() - began:.1f} s)")

    def _to_blame(self, problems: list[str]) -> list[str]:
        named = [name for name in self.programs if any(problem.startswith(f"{name} ") for problem in problems)]
        return named or ["kubelet", "kube-controller-manager"]
