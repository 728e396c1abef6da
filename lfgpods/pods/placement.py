"""Where a pod can run: the nodes as they are now, the one that has the volume folders, and the storage classes.

A create asks for both while it takes the lock, see `look_ahead`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from lfgpods.core.errors import KubernetesError, LfgpodsError
from lfgpods.core.operation import Operation
from lfgpods.core.settings import Settings
from lfgpods.hosts.base import Host
from lfgpods.hosts.run import run
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.nodes import (
    JSONPATH,
    Node,
    host_names_command,
    networks_of,
    node_of_host,
    nodes_of,
    reachable,
    read_host,
    read_nodes,
    trouble_of,
)

if TYPE_CHECKING:
    from lfgpods.kube.objects import PersistentVolume

NODE_CACHE_TTL = 15.0
"""How long node data may be reused, in seconds. Problems are checked again before they are reported."""
_POLL = 1.0
_NODES, _CLASSES = "nodes", "storageclasses"
_CLASS = "storageclass.storage.k8s.io/"


class Placement:
    """The nodes and storage classes that kubectl on HOST sees; an account that may not look sees none."""

    def __init__(self, kubectl: Kubectl, host: Host, settings: Settings) -> None:
        self._kubectl = kubectl
        self._host = host
        self._settings = settings
        hardening = settings.hardening
        self._networks = hardening.pod_cidrs or (None if hardening.network_policy else ())
        self._nodes: tuple[Node, ...] = ()
        self._looked = float("-inf")
        self._looking = threading.Lock()
        self._classes: frozenset[str] = frozenset()
        self._forbidden: set[str] = set()
        self._called: frozenset[str] | None = None

    def look_ahead(self, storage_class: str | None) -> None:
        """Ask for what a create with a volume of STORAGE_CLASS, or with a folder, will need to know.

        Raises nothing: what got no answer is asked for again when it is needed.
        """
        with suppress(LfgpodsError):
            if self._needs_nodes(in_folder=storage_class is None):
                self.nodes(within=NODE_CACHE_TTL)
            if storage_class is not None:
                self._list_classes()

    @property
    def networks(self) -> tuple[str, ...]:
        """The networks of the cluster's pods: those of the settings, else what the nodes tell."""
        return self._networks if self._networks is not None else networks_of(self.nodes())

    def nodes(self, *, within: float = float("inf")) -> tuple[Node, ...]:
        """The nodes as they were at most WITHIN seconds ago; none where this account may not look."""
        with self._looking:
            if time.monotonic() - self._looked > within or self._looked < 0:
                self._nodes = read_nodes(self._listed(_NODES, f"jsonpath={JSONPATH}")) or self._nodes
                self._looked = time.monotonic()
            return self._nodes

    def check_class(self, name: str) -> None:
        """Raise KubernetesError where the cluster has no storage class NAME."""
        if name not in self._classes:
            self._list_classes()
        if name in self._classes or _CLASSES in self._forbidden:
            return
        there = ", ".join(sorted(self._classes))
        raise KubernetesError(
            f"the cluster has no storage class {name}",
            f"Nothing was changed. There are: {there}." if there else "Nothing was changed. It has none at all.",
            code="no_such_storage_class",
        )

    def _list_classes(self) -> None:
        lines = self._listed(_CLASSES, "name").splitlines()
        self._classes = frozenset(line.removeprefix(_CLASS) for line in lines if line.startswith(_CLASS))

    def folder_node(self) -> Node | None:
        """The node that the volume folders are on; None on a cluster with one node, which needs no telling apart.

        Raises KubernetesError where there are several, and it cannot be told which it is.
        """
        nodes, named = self.nodes(), self._settings.node
        if named is None and len(nodes) < 2:
            return None
        if not nodes:
            raise KubernetesError(
                f"LFGPODS_NODE is {named}, and this account may not see the cluster's nodes",
                "Nothing was changed. Let it get and list nodes, or leave LFGPODS_NODE out on a cluster with one node.",
                code="forbidden",
            )
        node = node_of_host(nodes, named, () if named else self._host_names())
        return node if len(nodes) > 1 else None

    def is_here(self, volume: PersistentVolume | None) -> bool:
        """Whether the folder of VOLUME is on the host. Raises KubernetesError where that cannot be told."""
        tied = nodes_of(volume)
        if tied is None:
            return True
        here = self.folder_node() or next(iter(self.nodes()), None)
        return here is None or here.hostname in tied

    def node_here(self) -> Node | None:
        """The node that the volume folders are on, as far as it is known."""
        try:
            return self.folder_node() or next(iter(self.nodes()), None)
        except KubernetesError:
            return None

    def check_reach(self, volume: PersistentVolume | None, operation: Operation, *, in_folder: bool) -> None:
        """Return once a pod can be started where VOLUME, or with IN_FOLDER a folder that is to be made, is reached.

        Raises KubernetesError, with cause and remedy, if there is trouble until the time of OPERATION is over.
        """
        within = NODE_CACHE_TTL
        while nodes := self._candidates(volume, in_folder, within):
            trouble = trouble_of(nodes, volume)
            if not trouble:
                return
            if within == 0.0 and operation.expired:
                raise _out_of_reach(nodes, volume, trouble)
            operation.on_step(trouble)
            if within == 0.0:
                threading.Event().wait(_POLL)
            within = 0.0

    def _candidates(self, volume: PersistentVolume | None, in_folder: bool, within: float) -> Sequence[Node]:
        nodes = self.nodes(within=within) if self._needs_nodes(in_folder) else ()
        node = self.folder_node() if in_folder and nodes and nodes_of(volume) is None else None
        return [one for one in nodes if one.name == node.name] if node else nodes

    def _needs_nodes(self, in_folder: bool) -> bool:
        return in_folder or self._networks is None

    def _host_names(self) -> frozenset[str]:
        if self._called is None:
            told = run(self._host, host_names_command()).stdout.decode(errors="replace")
            ssh = self._settings.ssh
            self._called = read_host(told) | ({ssh.host} if ssh else frozenset())
        return self._called

    def _listed(self, kind: str, form: str) -> str:
        if kind in self._forbidden:
            return ""
        try:
            return self._kubectl.list_text(kind, form)
        except KubernetesError as error:
            if error.code != "forbidden":
                raise
            self._forbidden.add(kind)
            return ""


def _out_of_reach(nodes: Sequence[Node], volume: PersistentVolume | None, trouble: str) -> KubernetesError:
    usable = reachable(nodes, volume)
    silent = any(not node.answers for node in usable) or not usable
    cause, _, remedy = trouble.partition("; ")
    return KubernetesError(
        f"the pod cannot be started where its data is: {cause}",
        f"Nothing was changed, and the files are kept: {remedy}; then create again.",
        code="node_unreachable" if silent else "node_cordoned",
    )
