"""The host's kubectl: the machine's own if it is a recent one, so that the tests meet what users have."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.cluster import binaries, network
from tests.cluster.configuration import ROOT_ACCOUNT
from tests.cluster.errors import ClusterError
from tests.cluster.paths import ADMIN_KUBECONFIG, HOMES, HOST_BIN

_RECENT = re.compile(r"v1\.[23]\d\.")


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
    """The kubectl for the host: LFGPODS_TEST_KUBECTL, else a recent one of the machine, else the built one."""
    asked_for = os.environ.get("LFGPODS_TEST_KUBECTL")
    if asked_for:
        return Path(asked_for)
    found = shutil.which("kubectl")
    return Path(found) if found and _RECENT.match(_version(Path(found))) else binaries.BIN / "kubectl"


def install() -> str:
    """Put the chosen kubectl where every account of the host finds it; returns its version."""
    place = HOST_BIN / "kubectl"
    place.unlink(missing_ok=True)
    kubectl = chosen()
    if kubectl.is_relative_to(binaries.BIN):
        # An unprivileged account can't reach into root's cache folder.
        shutil.copy2(kubectl, place)
    else:
        place.symlink_to(kubectl)
    return _version(place)


def run(*argv: str, stdin: str = "") -> str:
    """Run kubectl as kubernetes-admin on the host, without SSH, and return its stdout."""
    command = network.inside(str(HOST_BIN / "kubectl"), f"--kubeconfig={ADMIN_KUBECONFIG}", *argv)
    # kubectl keeps a cache in its home, and the caller's is not the cluster's to write to.
    env = {**os.environ, "HOME": str(HOMES / ROOT_ACCOUNT)}
    done = subprocess.run(command, check=False, input=stdin, capture_output=True, text=True, env=env)
    if done.returncode:
        raise ClusterError(f"kubectl {' '.join(argv)} exited with {done.returncode}: {done.stderr.strip()}")
    return done.stdout
