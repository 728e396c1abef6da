"""The cluster's nodes: which one has the volume folders, which ones can reach a volume, and why none can. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lfgpods.core.errors import KubernetesError
from lfgpods.core.objects import Object
from lfgpods.core.scripts import load_script

if TYPE_CHECKING:
    from lfgpods.kube.objects import PersistentVolume

HOSTNAME = "kubernetes.io/hostname"

JSONPATH = (
    "{range .items[*]}{.metadata.name}"
    r'{"\t"}{.metadata.labels.kubernetes\.io/hostname}'
    r'{"\t"}{.spec.podCIDRs[*]}'
    r'{"\t"}{.spec.unschedulable}'
    r'{"\t"}{.status.conditions[?(@.type=="Ready")].status}'
    r'{"\t"}{.status.conditions[?(@.type=="Ready")].lastTransitionTime}'
    r'{"\t"}{.status.addresses[*].address}'
    r'{"\n"}{end}'
)
"""kubectl's output format for nodes: a line for each Node, so that a hundred nodes are a few kilobytes."""
_FIELDS = 7


@dataclass(frozen=True)
class Node:
    """A node as the cluster sees it."""

    name: str
    hostname: str
    """Its hostname label, by which volumes name it."""
    networks: tuple[str, ...] = ()
    """The networks that its pods' addresses come from."""
    cordoned: bool = False
    answers: bool = True
    since: str = ""
    """When its `answers` last changed."""
    addresses: frozenset[str] = frozenset()

    @property
    def trouble(self) -> str:
        """Why no pod can start on the node, and the remedy; empty if one can."""
        if not self.answers:
            since = f" since {self.since}" if self.since else ""
            return f"the node {self.name} does not answer{since}; start it or its kubelet (kubectl get nodes)"
        return f"the node {self.name} is cordoned; kubectl uncordon {self.name} ends that" if self.cordoned else ""


def read_nodes(text: str) -> tuple[Node, ...]:
    """The nodes in TEXT, which kubectl printed with JSONPATH. Skips every other line."""
    found = []
    for line in text.splitlines():
        fields = line.split("\t")
        if len(fields) == _FIELDS and fields[0]:
            name, hostname, networks, cordoned, ready, since, addresses = fields
            found.append(
                Node(
                    name,
                    hostname or name,
                    networks=_networks(networks),
                    cordoned=cordoned == "true",
                    answers=ready == "True",
                    since=since,
                    addresses=frozenset(addresses.split()),
                )
            )
    return tuple(found)


def _networks(text: str) -> tuple[str, ...]:
    """The networks in TEXT. Skips every other word."""
    found = []
    for word in text.split():
        with suppress(ValueError):
            found.append(str(ipaddress.ip_network(word)))
    return tuple(found)


def networks_of(nodes: Iterable[Node]) -> tuple[str, ...]:
    """The networks of all pods, each once."""
    return tuple(dict.fromkeys(network for node in nodes for network in node.networks))


def node_of_host(nodes: Sequence[Node], named: str | None, called: Collection[str]) -> Node:
    """The node that has the volume folders: the one NAMED in the settings, else the one that is the host itself.

    CALLED holds the host's names and addresses. Raises KubernetesError if they match no node, or more than one.
    """
    listed = ", ".join(sorted(node.name for node in nodes)) or "none"
    if named is not None:
        for node in nodes:
            if node.name == named:
                return node
        raise KubernetesError(
            f"LFGPODS_NODE is {named}, but the cluster has no such node",
            f"Set it to the node that has the volume folders, one of: {listed}.",
            code="no_such_node",
        )
    wanted = {word.lower() for word in called}
    found = [node for node in nodes if wanted & {word.lower() for word in (node.name, node.hostname, *node.addresses)}]
    if len(found) == 1:
        return found[0]
    which = "none of them" if not found else "more than one"
    raise KubernetesError(
        f"the cluster has {len(nodes)} nodes, and {which} matches the host with the volume folders",
        f"Nothing was changed. Set LFGPODS_NODE to the node that has the folders, one of: {listed}.",
        code="unknown_node",
    )


def node_affinity(node: Node) -> Object:
    """The nodeAffinity, as JSON, of a volume whose data is on NODE."""
    terms = [{"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [node.hostname]}]}]
    return {"required": {"nodeSelectorTerms": terms}}


def nodes_of(volume: PersistentVolume | None) -> frozenset[str] | None:
    """The hostnames of the nodes that can reach VOLUME; None if it names none, so that any may."""
    names: set[str] = set()
    for term in volume.spec.node_affinity.required.node_selector_terms if volume else ():
        named = [
            expression.values
            for expression in term.match_expressions
            if (expression.key, expression.operator) == (HOSTNAME, "In")
        ]
        if not named:
            return None
        names.update(*named)
    return frozenset(names) or None


def reachable(nodes: Iterable[Node], volume: PersistentVolume | None) -> tuple[Node, ...]:
    """Those of NODES that can reach VOLUME."""
    tied = nodes_of(volume)
    return tuple(node for node in nodes if tied is None or node.hostname in tied)


def trouble_of(nodes: Sequence[Node], volume: PersistentVolume | None) -> str:
    """Why no pod can start on any of NODES that can reach VOLUME; empty if one can, or if NODES are not known."""
    tied, usable = nodes_of(volume), reachable(nodes, volume)
    if not nodes:
        return ""
    if not usable:
        return f"the data is on {' or '.join(sorted(tied or ()))}, but the cluster has no such node; add it again"
    troubles = [node.trouble for node in usable]
    return "; ".join(troubles) if all(troubles) else ""


_LOCAL = re.compile(r"127\..*|::1|localhost(\..*)?")


def host_names_command() -> tuple[str, ...]:
    """The command that prints the host's names and addresses, one a line, for `read_host`."""
    return ("sh", "-c", load_script(__file__, "host_names.sh"))


def read_host(text: str) -> frozenset[str]:
    """The names and addresses that `host_names_command` printed, without those that every host has."""
    return frozenset(word for word in text.split() if not _LOCAL.fullmatch(word))
