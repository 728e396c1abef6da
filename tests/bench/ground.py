"""What every section works with: the cluster, owners that are purged in the end, and programs as a user runs them."""

from __future__ import annotations

import compileall
import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import lfgpods
from lfgpods import Owner, Pod, PodManager, PodNotFoundError, Request
from tests.bench.rivals import HOST_HOME, Ssh, kubectl_on_host
from tests.cluster import Cluster
from tests.lab import Lab, host_environment

REQUEST = Request(cpu_requests="10m", memory_requests="16Mi")
PURGES_AT_ONCE = 4


@dataclass
class Ground:
    """FOLDER is a temporary one; nothing of the user's own settings, keepers and records counts."""

    folder: Path
    rounds: int
    size: int
    """Bytes of a stream."""
    report: Callable[[str], None]
    _owners: set[Owner] = field(default_factory=set)
    _pods: dict[str, Pod] = field(default_factory=dict)

    @cached_property
    def cluster(self) -> Cluster:
        cluster = Cluster(self.report)
        cluster.up()
        return cluster

    @property
    def has_cluster(self) -> bool:
        """Whether anything has needed it yet."""
        return "cluster" in self.__dict__

    @cached_property
    def lab(self) -> Lab:
        return Lab({**host_environment(self.cluster), **self.own}, self.folder, self.cluster)

    @cached_property
    def manager(self) -> PodManager:
        """The one that looks after the pods; what it does is not measured."""
        return self.lab.manager()

    @cached_property
    def ssh(self) -> Ssh:
        ssh = self.lab.settings().require_ssh()
        return Ssh(f"{ssh.username}@{ssh.host}", ssh.port or 22, str(ssh.key_file), str(ssh.known_hosts))

    @property
    def own(self) -> dict[str, str]:
        """What keeps a program away from what belongs to the user."""
        return {
            "LFGPODS_DATABASE": str(self.folder / "lfgpods.db"),
            "LFGPODS_LOG_FILE": str(self.folder / "lfgpods.log"),
            "XDG_DATA_HOME": str(self.folder),
            "XDG_RUNTIME_DIR": str(self.folder),
        }

    def environment(self, settings: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment of a program that is run with SETTINGS; the cluster's, unless they are given."""
        others = {name: value for name, value in os.environ.items() if not name.startswith(("LFGPODS_", "K8S_SSH_"))}
        return {**others, **self.own, **(self.lab.environment if settings is None else settings)}

    def run(self, argv: Sequence[str], *, environment: Mapping[str, str] | None = None, stdin: bytes = b"") -> bytes:
        """The stdout of a program that succeeds, run as rivals and ours alike are. Raises AssertionError."""
        done = subprocess.run(
            argv, input=stdin, env=environment, cwd=self.folder, capture_output=True, check=False, timeout=600
        )
        assert done.returncode == 0, (argv, done.returncode, done.stderr.decode(errors="replace"))
        return done.stdout

    def kubectl(self, *words: str, stdin: bytes = b"") -> bytes:
        """The stdout of kubectl on the host itself: the floor."""
        # kubectl remembers in its home what the API server has; the account of ssh has warmed its own up too.
        return self.run(kubectl_on_host(*words), environment={**os.environ, "HOME": HOST_HOME}, stdin=stdin)

    def new_owner(self) -> Owner:
        """One that never was; whatever becomes of it is purged in the end."""
        owner = Owner.project(f"bench-{secrets.token_hex(4)}")
        self._owners.add(owner)
        return owner

    def pod(self, image: str) -> Pod:
        """A running pod of IMAGE, which all sections share."""
        if image not in self._pods:
            self._pods[image] = self.manager.ensure(self.new_owner(), replace(REQUEST, image=image))
        return self._pods[image]

    def purge(self, owner: Owner) -> None:
        """Return once nothing of OWNER is there any more."""
        with contextlib.suppress(PodNotFoundError):
            self.manager.delete(owner, purge=True)
        self._owners.discard(owner)

    def purge_all(self, owners: Sequence[Owner]) -> None:
        with ThreadPoolExecutor(PURGES_AT_ONCE) as pool:
            list(pool.map(self.purge, owners))

    def close(self) -> None:
        if self._owners:
            self.report(f"purging {len(self._owners)} owners")
            self.purge_all(list(self._owners))
        if "manager" in self.__dict__:
            self.manager.close()


def program(*words: str) -> list[str]:
    """The command line of the installed console script."""
    return [str(Path(sys.executable).parent / "lfgpods"), *words]


@contextlib.contextmanager
def ground(rounds: int, size: int, report: Callable[[str], None]) -> Iterator[Ground]:
    # As an installer does; a checkout is compiled anew by each process where Python is told to write no bytecode.
    compileall.compile_dir(Path(lfgpods.__file__).parent, quiet=1)
    with tempfile.TemporaryDirectory(prefix="lfgpods-bench-") as folder:
        made = Ground(Path(folder), rounds, size, report)
        try:
            yield made
        finally:
            made.close()
