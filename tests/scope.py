"""Scopes isolate a test run from everything else on its host, and the processes of a run from each other.

Each process works in its own instances (LFGPODS_INSTANCE), each with its own volume root and its own namespace for
locks. The end of the run removes these and nothing else.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_RUN, _FOLDER = "LFGPODS_TEST_RUN", "LFGPODS_TEST_FOLDER"
ID = os.environ.setdefault(_RUN, secrets.token_hex(3))
"""The same in all processes of a run."""
assert re.fullmatch(r"[0-9a-f]{6}", ID), f"{_RUN} is set by the tests themselves"
WORKER = os.environ.get("PYTEST_XDIST_WORKER") or "main"
RUN = f"{ID}-{WORKER}"
"""Distinguishes the owners of this process from those of all other processes."""
VOLUMES = f"/mnt/data/lfgpods-test-{ID}"
"""The folder on the host that contains this run's volume roots."""
LABEL = "lfgpods.io/instance"


@dataclass(frozen=True)
class Scope:
    """One instance of this process."""

    name: str

    @property
    def instance(self) -> str:
        return f"test-{RUN}-{self.name}"

    @property
    def volume_root(self) -> str:
        return f"{VOLUMES}/{WORKER}-{self.name}/volumes"

    @property
    def lock_namespace(self) -> str:
        return f"lfgpods-{self.instance}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings that keep lfgpods in this scope."""
        return {
            "LFGPODS_INSTANCE": self.instance,
            "LFGPODS_VOLUME_ROOT": self.volume_root,
            "LFGPODS_LOCK_NAMESPACE": self.lock_namespace,
        }

    @property
    def lock_manifest(self) -> str:
        """The manifest of the namespace for locks."""
        labels = {LABEL: self.instance}
        metadata = {"name": self.lock_namespace, "labels": labels}
        return json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def register(instance: str) -> None:
    """Register INSTANCE for removal from the real host at the end of the run."""
    folder = shared_folder() / "instances"
    folder.mkdir(exist_ok=True)
    (folder / instance).touch()


def registered() -> list[str]:
    """Return the instances of all processes of this run."""
    return sorted(path.name for path in (shared_folder() / "instances").glob("*"))


def shared_folder() -> Path:
    """Return the folder that all processes of this run share."""
    return _shared[0]


def begin() -> None:
    """Make the shared folder, unless a parent process did."""
    if not _shared:
        _shared.append(Path(tempfile.mkdtemp(prefix="lfgpods-tests-")))
        os.environ[_FOLDER] = str(_shared[0])


def end() -> None:
    """Remove the shared folder."""
    shutil.rmtree(_shared.pop(), ignore_errors=True)
    del os.environ[_FOLDER]


_shared = [Path(os.environ[_FOLDER])] if _FOLDER in os.environ else []


@contextmanager
def first_only(what: str) -> Iterator[bool]:
    """Yield True in the first process of the run. The others wait until it leaves, and get False."""
    done = shared_folder() / f"{what}.done"
    with (shared_folder() / f"{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not done.exists()
        done.touch()


def has_happened(what: str) -> bool:
    """Whether a process of this run has completed `first_only` for WHAT."""
    return (shared_folder() / f"{what}.done").exists()
