"""The embedded cluster: its objects, brought up to date by its controllers before each use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lfgpods.hosts.embedded.cluster.controllers import reconcile
from lfgpods.hosts.embedded.cluster.errors import KubectlError
from lfgpods.hosts.embedded.cluster.faults import Faults
from lfgpods.hosts.embedded.cluster.kubelet import Kubelet
from lfgpods.hosts.embedded.cluster.nodes import bootstrap
from lfgpods.hosts.embedded.cluster.objects import Objects
from lfgpods.hosts.embedded.cluster.storage import Storage


class Cluster:
    """The cluster in FOLDER, which is created on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: Storage | None = None
        self.kubelet = Kubelet(folder)

    def refresh(self) -> Objects:
        """Run the controllers and return all objects. Raises KubectlError if the API server is down."""
        with self._storage.transaction() as objects:
            if objects.faults.api_down:
                raise KubectlError(
                    "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?"
                )
            bootstrap(objects)
            reconcile(objects, self.kubelet)
        return objects

    @contextmanager
    def transaction(self, *, refresh: bool = True) -> Iterator[Objects]:
        """All objects, to be changed; REFRESH runs the controllers first. An exception undoes the changes."""
        if refresh:
            self.refresh()
        with self._storage.transaction() as objects:
            yield objects

    @property
    def faults(self) -> Faults:
        return self._storage.faults()

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self._storage.set_faults(faults)

    @property
    def _storage(self) -> Storage:
        if self._opened is None:
            self._opened = Storage(self._folder)
        return self._opened
