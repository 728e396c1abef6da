"""Where a pod can run: the cluster's nodes, the node with the volume folders, and the storage classes."""

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
"""How long node data may be reused, in seconds. Problems are re-checked before they are reported."""
_POLL = 1.0
_NODES, _CLASSES = "nodes", "storageclasses"
_CLASS = "storageclass.storage.k8s.io/"


class Placement:
    """The nodes and storage classes that kubectl on HOST sees. An account without the right sees none."""

    def __init__(self, kubectl: Kubectl, host: Host, settings: Settings) -> None:
        self._kubectl = kubectl
        self._host = host
        self._settings = settings
        hardening = settings.hardening
        self._networks = hardening.pod_cidrs or (None if hardening.network_policy else ())
        self._nodes: tuple[Node, ...] = ()
        self._refreshed = float("-inf")
        self._refreshing = threading.Lock()
        self._classes: frozenset[str] = frozenset()
        self._forbidden: set[str] = set()
        self._cached_host_names: frozenset[str] | None = None

    def prefetch(self, storage_class: str | None) -> None:
        """Query what a create with STORAGE_CLASS, or with a folder, will need.

        Never raises: a query without an answer is repeated when the answer is needed.
        """
        with suppress(LfgpodsError):
            if self._needs_nodes(in_folder=storage_class is None):
                self.nodes(within=NODE_CACHE_TTL)
            if storage_class is not None:
                self._list_classes()

    @property
    def networks(self) -> tuple[str, ...]:
        """The pod networks from the settings, or otherwise from the nodes."""
        return self._networks if self._networks is not None else networks_of(self.nodes())

    def nodes(self, *, within: float = float("inf")) -> tuple[Node, ...]:
        """Return node data at most WITHIN seconds old, or no nodes if this account may not list them."""
        with self._refreshing:
            if time.monotonic() - self._refreshed > within or self._refreshed < 0:
                self._nodes = read_nodes(self._listed(_NODES, f"jsonpath={JSONPATH}")) or self._nodes
                self._refreshed = time.monotonic()
            return self._nodes

    def check_class(self, name: str) -> None:
        """Raise KubernetesError if the cluster has no storage class NAME."""
        if name not in self._classes:
            self._list_classes()
        if name in self._classes or _CLASSES in self._forbidden:
            return
        there = ", ".join(sorted(self._classes))
        raise KubernetesError(
            f"the cluster has no storage class {name}",
            f"Nothing was changed. Use one of: {there}." if there else "Nothing was changed. The cluster has none.",
            code="no_such_storage_class",
        )

    def _list_classes(self) -> None:
        lines = self._listed(_CLASSES, "name").splitlines()
        self._classes = frozenset(line.removeprefix(_CLASS) for line in lines if line.startswith(_CLASS))

    def folder_node(self) -> Node | None:
        """Return the node with the volume folders, or None if the cluster has only one node.

        Raises KubernetesError if there are several nodes and this one cannot be determined.
        """
        nodes, named = self.nodes(), self._settings.node
        if named is None and len(nodes) < 2:
            return None
        if not nodes:
            raise KubernetesError(
                f"LFGPODS_NODE is {named}, but this account may not list nodes",
                "Nothing was changed. Allow it to get and list nodes. On a cluster with one node, unset LFGPODS_NODE.",
                code="forbidden",
            )
        node = node_of_host(nodes, named, () if named else self._host_names())
        return node if len(nodes) > 1 else None

    def is_here(self, volume: PersistentVolume | None) -> bool:
        """Whether the folder of VOLUME is on this host. Raises KubernetesError if that cannot be determined."""
        tied = nodes_of(volume)
        if tied is None:
            return True
        here = self.folder_node() or next(iter(self.nodes()), None)
        return here is None or here.hostname in tied

    def node_here(self) -> Node | None:
        """Return the node with the volume folders, or None if it is unknown."""
        try:
            return self.folder_node() or next(iter(self.nodes()), None)
        except KubernetesError:
            return None

    def check_reach(self, volume: PersistentVolume | None, operation: Operation, *, in_folder: bool) -> None:
        """Wait until a pod can start on a node that reaches VOLUME, or with IN_FOLDER, the new volume folder.

        Raises KubernetesError with the cause if OPERATION runs out of time.
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
        if self._cached_host_names is None:
            output = run(self._host, host_names_command()).stdout.decode(errors="replace")
            ssh = self._settings.ssh
            self._cached_host_names = read_host(output) | ({ssh.host} if ssh else frozenset())
        return self._cached_host_names

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
        f"the pod cannot start on the node with its data: {cause}",
        f"Nothing was changed, and the files are kept. To fix it: {remedy}; then create again.",
        code="node_unreachable" if silent else "node_cordoned",
    )
