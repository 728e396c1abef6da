"""Where faults are tried: a host, lfgpods on it in this process and in others, and a look at what is really there."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfgpods import Command, Owner, PodManager, PodNotFoundError, Settings, load_settings
from lfgpods.hosts import connect
from lfgpods.hosts.base import Completed, Host
from lfgpods.hosts.run import run
from lfgpods.hosts.ssh import SshHost
from lfgpods.kube.labels import selector
from lfgpods.testing import embedded_host
from tests.lab import DELETION_LIMIT, Lab
from tests.scope import RUN

COMMAND_LIMIT = 150.0
"""Seconds for one command line of lfgpods; its own limits are below that."""
_NUMBERS = itertools.count(1)
_SMALL = {
    "LFGPODS_MEMORY": "64Mi",
    "LFGPODS_MEMORY_REQUEST": "8Mi",
    "LFGPODS_CPU": "1",
    "LFGPODS_CPU_REQUEST": "5m",
    "LFGPODS_TIMEOUT": "90",
}

WRITE = r"""
mkdir -p sub/deeper && head -c 300000 /dev/urandom >sub/deeper/large && : >empty
for n in 0 1 2 3 4 5 6 7 8 9; do head -c 2000 /dev/urandom >"sub/$n"; done
printf precious >"$(printf "it's \"odd\" \\303\\244 *")" && sync
"""
_CHECKSUMS = 'cd "$1" 2>/dev/null && find . -type f -exec sha256sum {} + | sort'


@dataclass(frozen=True)
class Ground:
    """A host on which this run has owners of its own."""

    name: str
    environment: Mapping[str, str]
    folder: Path
    host: Host
    lab: Lab | None = None
    owners: list[Owner] = field(default_factory=list)
    """All that were given out."""

    def settings(self, **overrides: str) -> Settings:
        return load_settings({**self.environment, **overrides}, self.folder / "no.env")

    def manager(self, **overrides: str) -> PodManager:
        return PodManager(self.settings(**overrides))

    def new_owner(self, word: str) -> Owner:
        owner = Owner.project(f"{word}-{RUN}-{next(_NUMBERS)}")
        self.owners.append(owner)
        return owner

    def kubectl(self, *words: str, stdin: bytes = b"", timeout: float = DELETION_LIMIT) -> Completed:
        return run(self.host, (*self.settings().kubectl, *words), stdin=stdin, timeout=timeout)

    def objects(self, *words: str) -> list[dict[str, Any]]:
        """The objects that `kubectl get WORDS` finds; a kind that this host does not have has none."""
        done = self.kubectl("get", *words, "-o", "json", "--ignore-not-found")
        if b"doesn't have a resource type" in done.stderr:
            return []
        assert done.exit_code == 0, done.stderr.decode()
        items: list[dict[str, Any]] = json.loads(done.stdout)["items"] if done.stdout.strip() else []
        return items

    def sh(self, script: str, *words: str, timeout: float = 60.0) -> Completed:
        """Run a script on the host itself, as its root."""
        sudo = ("sudo", "-n") if self.settings().sudo else ()
        return run(self.host, (*sudo, "sh", "-c", script, "sh", *words), timeout=timeout)

    def process(self, module: str, *argv: str, **overrides: str) -> list[str]:
        """The command line that runs MODULE with this ground's settings, whatever the caller's environment is."""
        words = [f"{name}={value}" for name, value in {**self.environment, **overrides}.items()]
        others = [name for name in os.environ if name.startswith(("LFGPODS_", "K8S_SSH_"))]
        return ["env", *(word for name in others for word in ("-u", name)), *words, sys.executable, "-m", module, *argv]

    def run_module(self, module: str, *argv: str) -> subprocess.CompletedProcess[bytes]:
        argv = tuple(self.process(module, *argv))
        return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_LIMIT)

    def lfgpods(self, *argv: str) -> subprocess.CompletedProcess[bytes]:
        """Run the command line in a process of its own."""
        return self.run_module("lfgpods", *argv)

    def folder_of(self, owner: Owner) -> str:
        return owner.names.folder(self.settings().volume_root)

    def checksums(self, owner: Owner) -> str:
        """The files of OWNER's volume folder with their checksums, as the host has them; nothing without a folder."""
        return self.sh(_CHECKSUMS, self.folder_of(owner)).stdout.decode(errors="surrogateescape")

    def write_files(self, owner: Owner) -> str:
        """Write files in OWNER's pod; their checksums as the host has them."""
        with self.manager() as manager:
            done = manager.exec(owner, Command(WRITE))
        assert done.exit_code == 0, done.stderr
        written = self.checksums(owner)
        assert len(written.splitlines()) == 13, written
        return written

    def remains(self, owner: Owner) -> list[str]:
        """Everything that there still is of OWNER: objects, leases, folders by whatever name, rows of the store."""
        names, settings = owner.names, self.settings()
        done = self.kubectl(
            "get",
            f"namespace/{names.namespace}",
            f"persistentvolume/{names.volume}",
            "--ignore-not-found",
            "-o",
            "name",
        )
        assert done.exit_code == 0, done.stderr.decode()
        leases = [
            f"lease/{lease['metadata']['name']}"
            for lease in self.objects("leases", "-n", settings.lock_namespace, "-l", selector(settings.instance))
            if _mentions(lease, names.namespace)
        ]
        root = settings.volume_root
        folders = self.sh('ls -A "$1" "$1/.lfgpods" 2>/dev/null', root).stdout.decode().split("\n")
        owned = [f"{root}/{name}" for name in folders if _mentions(name, names.namespace)]
        return [*done.stdout.decode().split(), *leases, *owned, *self._rows(names.namespace)]

    def _rows(self, namespace: str) -> list[str]:
        with contextlib.closing(sqlite3.connect(self.settings().database, timeout=30)) as database:
            rows = database.execute("SELECT namespace, status FROM pods WHERE namespace = ?", (namespace,)).fetchall()
        return [f"row {name} {status}" for name, status in rows]

    def doubles(self, owner: Owner) -> list[str]:
        """What there is more or less than one of where a pod of OWNER runs."""
        names = owner.names
        found = []
        for kind in ("deployments", "services", "persistentvolumeclaims", "pods"):
            things = self.objects(kind, "-n", names.namespace)
            alive = [thing for thing in things if "deletionTimestamp" not in thing["metadata"]]
            if len(alive) != 1:
                found.append(f"{len(alive)} {kind} in {names.namespace}")
        volumes = [
            volume
            for volume in self.objects("persistentvolumes")
            if (volume["spec"].get("claimRef") or {}).get("namespace") == names.namespace
        ]
        return [*found, *([] if len(volumes) == 1 else [f"{len(volumes)} volumes for {names.namespace}"])]

    def running_pods(self, owner: Owner) -> list[str]:
        """The pods of OWNER in which something may still run."""
        pods = self.objects("pods", "-n", owner.names.namespace)
        return [pod["metadata"]["name"] for pod in pods if _may_run(pod) and not self._has_lost(pod)]

    def _has_lost(self, pod: Mapping[str, Any]) -> bool:
        """Whether the node says that it lost POD's containers, and the host indeed has no process of them."""
        ends = [
            (one.get("lastState") or {}).get("terminated") or {} for one in pod["status"].get("containerStatuses", ())
        ]
        if not ends or any(end.get("reason") != "ContainerStatusUnknown" for end in ends):
            return False
        uid = pod["metadata"]["uid"]
        groups = 'cat /proc/[0-9]*/cgroup 2>/dev/null | grep -q -e "$1" -e "$2"'
        return self.sh(groups, uid, uid.replace("-", "_")).exit_code == 1

    def purge(self, owner: Owner) -> None:
        with contextlib.suppress(PodNotFoundError), self.manager() as manager:
            manager.delete(owner, purge=True)

    def purge_what_is_left(self) -> list[Owner]:
        """Purge the owners that a test which failed left, and return them."""
        done = self.kubectl("get", "namespaces,persistentvolumes", "-o", "name")
        names = {line.partition("/")[2] for line in done.stdout.decode().split()}
        left = [owner for owner in self.owners if {owner.names.namespace, owner.names.volume} & names]
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(self.purge, left))
        return left


def _may_run(pod: Mapping[str, Any]) -> bool:
    status = pod.get("status") or {}
    states = [one.get("state") or {} for one in status.get("containerStatuses") or []]
    ended = status.get("phase") in ("Succeeded", "Failed") or (bool(states) and all("terminated" in s for s in states))
    return not ended


def _mentions(thing: object, namespace: str) -> bool:
    """Whether THING names NAMESPACE, and not another one that only begins as it does."""
    text = thing if isinstance(thing, str) else json.dumps(thing)
    return any(not text[at + len(namespace) : at + len(namespace) + 1].isdigit() for at in _places(text, namespace))


def _places(text: str, word: str) -> Iterator[int]:
    at = text.find(word)
    while at >= 0:
        yield at
        at = text.find(word, at + 1)


@contextlib.contextmanager
def embedded_ground() -> Iterator[Ground]:
    with embedded_host(_SMALL) as embedded, tempfile.TemporaryDirectory() as folder:
        yield Ground("embedded", embedded.environment, Path(folder), connect(embedded.settings))


@contextlib.contextmanager
def real_ground(lab: Lab) -> Iterator[Ground]:
    """The real host, in the scope of LAB, so that whatever is left there is ours."""
    environment = {**lab.environment, **_SMALL}
    settings = load_settings(environment, lab.folder / "no.env")
    root = settings.volume_root
    host = SshHost(settings.require_ssh())
    ground = Ground("real", environment, lab.folder, host, lab)
    try:
        yield ground
        ground.purge_what_is_left()
        script = 'rmdir "$1/.lfgpods" 2>/dev/null; find "$1" -mindepth 1 2>/dev/null | head; rmdir "$1" "$(dirname "$1")" 2>/dev/null'
        left = ground.sh(script, root).stdout
        assert left == b"", f"folders that nobody purged: {left!r}"
    finally:
        host.close()


def command_of(verb: str, owner: Owner) -> Sequence[str]:
    """The command line for one of the words that tests use: create, delete, purge."""
    identity = ("--project-id", owner.id)
    return {
        "create": ("create", *identity, "-o", "json"),
        "delete": ("delete", *identity, "-o", "json"),
        "purge": ("delete", *identity, "--purge", "--yes", "-o", "json"),
    }[verb]
