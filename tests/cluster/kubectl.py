"""The host's kubectl: of the cluster's release, or the one that LFGPODS_TEST_KUBECTL names."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

from tests.cluster import builds, network
from tests.cluster.configuration import ROOT_ACCOUNT
from tests.cluster.errors import ClusterError
from tests.cluster.paths import ADMIN_KUBECONFIG, HOMES, HOST_BIN

_PLACE = HOST_BIN / "kubectl"


def _version(kubectl: Path) -> str:
    """The version that KUBECTL says it has, or nothing if it does not say one."""
    try:
        answer = subprocess.run(
            [kubectl, "version", "--client", "-o", "json"], check=False, capture_output=True, timeout=20
        )
        return str(json.loads(answer.stdout)["clientVersion"]["gitVersion"])
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired):
        return ""


def chosen() -> Path:
    """The kubectl for the host."""
    asked_for = os.environ.get("LFGPODS_TEST_KUBECTL")
    return Path(asked_for) if asked_for else builds.KUBERNETES.program("kubectl")


def is_installed() -> bool:
    """Whether the host has the chosen kubectl."""
    try:
        there, wanted = _PLACE.stat(), chosen().stat()
    except OSError:
        return False
    return (there.st_size, there.st_mtime_ns) == (wanted.st_size, wanted.st_mtime_ns)


def install() -> str:
    """Put the chosen kubectl where every account of the host finds it; returns its version."""
    # A copy, as an unprivileged account can't reach into root's cache folder; renamed, as it may be in use.
    unfinished = _PLACE.with_suffix(".new")
    shutil.copy2(chosen(), unfinished)
    unfinished.replace(_PLACE)
    return _version(_PLACE)


def run(*argv: str, stdin: str = "") -> str:
    """Run kubectl as kubernetes-admin on the host, without SSH, and return its stdout."""
    command = network.inside(str(_PLACE), f"--kubeconfig={ADMIN_KUBECONFIG}", *argv)
    # kubectl keeps a cache in its home, and the caller's is not the cluster's to write to.
    env = {**os.environ, "HOME": str(HOMES / ROOT_ACCOUNT)}
    done = subprocess.run(command, check=False, input=stdin, capture_output=True, text=True, env=env)
    if done.returncode:
        raise ClusterError(f"kubectl {' '.join(argv)} exited with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
