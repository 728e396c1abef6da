"""The embedded cluster: its objects and its kubelet, seen through a world that is up to date."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lfgpods.hosts.embedded.cluster.controllers import advance
from lfgpods.hosts.embedded.cluster.errors import KubectlError
from lfgpods.hosts.embedded.cluster.faults import Faults
from lfgpods.hosts.embedded.cluster.kubelet import Kubelet
from lfgpods.hosts.embedded.cluster.nodes import ensure_basics
from lfgpods.hosts.embedded.cluster.objects import World
from lfgpods.hosts.embedded.cluster.storage import Storage


class Cluster:
    """What lives in FOLDER; nothing is made there before the first look."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: Storage | None = None
        self.kubelet = Kubelet(folder)

    def look(self) -> World:
        """The world as it is now, brought up to date. Raises KubectlError when the API server is down."""
        with self._storage.transaction() as world:
            if world.faults.api_down:
                raise KubectlError(
                    "The connection to the server 127.0.0.1:6443 was refused - did you specify the right host or port?"
                )
            ensure_basics(world)
            advance(world, self.kubelet)
        return world

    @contextmanager
    def change(self, *, look: bool = True) -> Iterator[World]:
        """The world, brought up to date and to be changed; an exception undoes the change, and nothing else.

        Without LOOK the controllers are not run before.
        """
        if look:
            self.look()
        with self._storage.transaction() as world:
            yield world

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
