"""The real host outside all scopes: the stranger lives there, and the end of a run cleans it up."""

from __future__ import annotations

from collections.abc import Sequence

from lfgpods import PodManager, Request
from lfgpods.core.settings import load_settings
from lfgpods.hosts.base import Completed
from lfgpods.hosts.run import run
from lfgpods.hosts.ssh import SshHost
from tests import scope
from tests.cluster import Cluster
from tests.lab import DELETION_LIMIT, Images, host_environment
from tests.stranger import Stranger

SMALL = Request(image=Images().small, memory="64Mi", memory_requests="8Mi", cpu="500m", cpu_requests="5m")


class RealHost:
    """CLUSTER is None on the user's own host, where the stranger lives beside the user's pods."""

    def __init__(self, cluster: Cluster | None) -> None:
        folder = scope.shared_folder()
        environment = {**host_environment(cluster), "LFGPODS_DATABASE": str(folder / "stranger.db")}
        self._settings = load_settings(environment, folder / "no.env")
        self.stranger = Stranger(self._settings, self.run)

    def run(self, *argv: str) -> Completed:
        host = SshHost(self._settings.require_ssh())
        try:
            return run(host, [*(("sudo", "-n") if self._settings.sudo else ()), *argv], timeout=DELETION_LIMIT)
        finally:
            host.close()

    def move_stranger_in(self) -> None:
        with PodManager(self._settings) as pods:
            self.stranger.move_in(pods, SMALL)

    def move_stranger_out(self) -> None:
        with PodManager(self._settings) as pods:
            self.stranger.move_out(pods)

    def remove_instances(self, names: Sequence[str]) -> None:
        """Remove all objects with the label of one of the instances, and this run's volume folders."""
        selector = f"{scope.LABEL} in ({','.join(names)})"
        delete = ("delete", "namespaces,persistentvolumes", "-l", selector, "--ignore-not-found", "--wait=false")
        leases = ("delete", "leases", "-A", "-l", selector, "--ignore-not-found")
        kubectl = self._settings.kubectl
        for argv in ((*kubectl, *delete), (*kubectl, *leases), ("rm", "-rf", "--one-file-system", scope.VOLUMES)):
            done = self.run(*argv)
            assert done.exit_code == 0, done.stderr.decode()
