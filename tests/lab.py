"""The real Kubernetes host of the end-to-end tests: the test cluster, or the user's own host.

LFGPODS_E2E selects it: `auto` (the test cluster, if this machine can run it), `required` (fail if it cannot), `own`
(the host in the K8S_SSH_* variables, with images from LFGPODS_TEST_IMAGE*), or `off`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from lfgpods.api.manager import PodManager
from lfgpods.core.settings import Settings, load_settings
from lfgpods.hosts.base import Completed
from lfgpods.hosts.run import run
from lfgpods.hosts.ssh import SshHost
from tests import postgres
from tests.cluster import BUSYBOX, BUSYBOX_USER, CRASH, DEBIAN, DEBIAN_USER, NOSHELL, Cluster, unsupported
from tests.scope import Scope, register

DELETION_LIMIT = 180.0
"""Time limit of the tests' own kubectl, in seconds. kubelet 1.20 may take a minute to remove an ended pod."""
MODE = os.environ.get("LFGPODS_E2E") or "auto"
USE_YOUR_OWN = (
    "run them on your own host with LFGPODS_E2E=own K8S_SSH_HOST=... K8S_SSH_KEY_FILE=... (k3s, kind, any "
    "cluster with sshd; LFGPODS_TEST_IMAGE names an image with git and python3)"
)


@cache
def left_out() -> str | None:
    """Return why there is no real host for the tests, in one line; None if there is one."""
    if MODE == "own":
        return None if os.environ.get("K8S_SSH_HOST") else f"LFGPODS_E2E=own without K8S_SSH_HOST: {USE_YOUR_OWN}"
    if MODE == "off":
        return f"skipped the tests on a real Kubernetes (LFGPODS_E2E=off); {USE_YOUR_OWN}"
    reason = unsupported()
    return f"skipped the tests on a real Kubernetes ({reason}); {USE_YOUR_OWN}" if reason else None


@dataclass(frozen=True)
class Images:
    """Images that the host has or can pull. `no_shell` and `crash` exist only in the test cluster."""

    small: str = os.environ.get("LFGPODS_TEST_IMAGE_SMALL") or BUSYBOX
    project: str = os.environ.get("LFGPODS_TEST_IMAGE") or DEBIAN
    user: str = os.environ.get("LFGPODS_TEST_IMAGE_USER") or DEBIAN_USER
    small_user: str = os.environ.get("LFGPODS_TEST_IMAGE_SMALL_USER") or BUSYBOX_USER
    no_shell: str = NOSHELL
    crash: str = CRASH


@dataclass(frozen=True)
class Lab:
    """A real host, and what a user needs to run lfgpods on it."""

    environment: Mapping[str, str]
    folder: Path
    cluster: Cluster | None = None
    images: Images = field(default_factory=Images)

    def settings(self, **overrides: str) -> Settings:
        return load_settings({**self.environment, **overrides}, env_file=self.folder / "no.env")

    def manager(self, **overrides: str) -> PodManager:
        return PodManager(self.settings(**overrides))

    def on_host(self, *argv: str) -> Completed:
        """Run a program on the host as its administrator."""
        settings = self.settings()
        host = SshHost(settings.require_ssh())
        try:
            return run(host, [*(("sudo", "-n") if settings.sudo else ()), *argv], timeout=DELETION_LIMIT)
        finally:
            host.close()

    def kubectl(self, *argv: str) -> str:
        done = self.on_host(*self.settings().kubectl, *argv)
        assert done.exit_code == 0, done.stderr.decode()
        return done.stdout.decode()

    def feed_kubectl(self, text: str, *argv: str) -> None:
        """Run kubectl with TEXT as its stdin."""
        script = 'text=$1; shift; printf %s "$text" | "$@"'
        done = self.on_host("sh", "-c", script, "sh", text, *self.settings().kubectl, *argv)
        assert done.exit_code == 0, done.stderr.decode()

    def lfgpods(
        self, *argv: str, stdin: bytes = b"", settings: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        """Run the lfgpods command line in its own process."""
        return subprocess.run(
            command_line(argv),
            env={**os.environ, **self.environment, **(settings or {})},
            cwd=self.folder,
            input=stdin,
            capture_output=True,
            timeout=180,
        )


def command_line(argv: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "lfgpods", *argv]


def host_environment(cluster: Cluster | None) -> dict[str, str]:
    """Return only the settings that lead to the host."""
    if cluster is not None:
        return cluster.settings()
    return {name: value for name, value in os.environ.items() if name.startswith(("K8S_SSH_", "LFGPODS_"))}


def open_lab(cluster: Cluster | None, folder: Path, name: str) -> Lab:
    """Open the real host with this process's own scope NAME. lfgpods writes its local files to FOLDER."""
    own = Scope(name)
    environment = {
        **host_environment(cluster),
        **own.environment,
        "LFGPODS_IMAGE": Images().small,
        "LFGPODS_START_GRACE": "1",
        "LFGPODS_DATABASE": str(folder / "lfgpods.db"),
        "XDG_DATA_HOME": str(folder / "data"),
    }
    lab = Lab(environment, folder, cluster)
    register(own.instance)
    lab.feed_kubectl(own.lock_manifest, "apply", "-f", "-")
    return lab


if __name__ == "__main__":
    # Runs before the tests, so that the first build of the cluster shows its progress.
    if postgres.left_out(MODE) is None:
        postgres.install()
    if MODE in ("auto", "required") and left_out() is None:
        Cluster(lambda line: print(line, flush=True)).up()
