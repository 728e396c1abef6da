"""The cluster's nodes: which of them has the volume folders, which a volume can be reached from, and why not. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from lfgpods.core.errors import KubernetesError
from lfgpods.core.objects import Object
from lfgpods.core.scripts import load_script

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
"""What kubectl is asked of each node: a line of it tells a Node, and a hundred nodes are a few kilobytes."""
_FIELDS = 7


@dataclass(frozen=True)
class Node:
    """A node as the cluster sees it."""

    name: str
    hostname: str
    """The label by which volumes name it."""
    networks: tuple[str, ...] = ()
    """Those from which its pods get their addresses."""
    cordoned: bool = False
    answers: bool = True
    since: str = ""
    """When it began or ceased to answer."""
    addresses: frozenset[str] = frozenset()

    @property
    def trouble(self) -> str:
        """Why no pod can be started on it, and the remedy; empty where one can."""
        if not self.answers:
            since = f" since {self.since}" if self.since else ""
            return f"the node {self.name} does not answer{since}; start it or its kubelet (kubectl get nodes)"
        return f"the node {self.name} is cordoned; kubectl uncordon {self.name} ends that" if self.cordoned else ""


def read_nodes(text: str) -> tuple[Node, ...]:
    """The nodes of which TEXT has a line as JSONPATH makes it; every other line is left out."""
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
    """The networks in TEXT, without what is none."""
    found = []
    for word in text.split():
        with suppress(ValueError):
            found.append(str(ipaddress.ip_network(word)))
    return tuple(found)


def networks_of(nodes: Iterable[Node]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(network for node in nodes for network in node.networks))


def node_of_host(nodes: Sequence[Node], named: str | None, called: Collection[str]) -> Node:
    """The one of NODES that the volume folders are on: the one NAMED in the settings, or the one that is CALLED so.

    CALLED holds names and addresses of the host. Raises KubernetesError where that names none, or more than one.
    """
    listed = ", ".join(sorted(node.name for node in nodes)) or "none"
    if named is not None:
        for node in nodes:
            if node.name == named:
                return node
        raise KubernetesError(
            f"LFGPODS_NODE is {named}, and the cluster has no such node",
            f"Set it to the node that has the volume folders; there are: {listed}.",
            code="no_such_node",
        )
    wanted = {word.lower() for word in called}
    found = [node for node in nodes if wanted & {word.lower() for word in (node.name, node.hostname, *node.addresses)}]
    if len(found) == 1:
        return found[0]
    which = "none of them" if not found else "more than one"
    raise KubernetesError(
        f"the cluster has {len(nodes)} nodes, and {which} is known to be the host with the volume folders",
        f"Nothing was changed. Set LFGPODS_NODE to the node that has them; there are: {listed}.",
        code="unknown_node",
    )


def node_affinity(node: Node) -> Object:
    """The nodeAffinity of a volume whose data is on NODE."""
    terms = [{"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [node.hostname]}]}]
    return {"required": {"nodeSelectorTerms": terms}}


def nodes_of(volume: Object | None) -> frozenset[str] | None:
    """The hostnames of the nodes that VOLUME can be reached from; None where it names none, which may be any."""
    required = (((volume or {}).get("spec") or {}).get("nodeAffinity") or {}).get("required") or {}
    names: set[str] = set()
    for term in required.get("nodeSelectorTerms") or ():
        named = [
            expression.get("values") or ()
            for expression in term.get("matchExpressions") or ()
            if expression.get("key") == HOSTNAME and expression.get("operator") == "In"
        ]
        if not named:
            return None
        names.update(*named)
    return frozenset(names) or None


def reachable(nodes: Iterable[Node], volume: Object | None) -> tuple[Node, ...]:
    """Those of NODES from which VOLUME can be reached."""
    tied = nodes_of(volume)
    return tuple(node for node in nodes if tied is None or node.hostname in tied)


def trouble_of(nodes: Sequence[Node], volume: Object | None) -> str:
    """Why a pod can be started on none of NODES from which VOLUME can be reached; empty where one can."""
    tied, usable = nodes_of(volume), reachable(nodes, volume)
    if not nodes:
        return ""
    if not usable:
        return f"the data is on {' or '.join(sorted(tied or ()))}, and the cluster has no such node; add it again"
    troubles = [node.trouble for node in usable]
    return "; ".join(troubles) if all(troubles) else ""


_LOCAL = re.compile(r"127\..*|::1|localhost(\..*)?")


def host_names_command() -> tuple[str, ...]:
    """The command that prints what `read_host` reads."""
    return ("sh", "-c", load_script(__file__, "host_names.sh"))


def read_host(text: str) -> frozenset[str]:
    """The names and addresses in what host_names.sh prints, without those that every host has."""
    return frozenset(word for word in text.split() if not _LOCAL.fullmatch(word))
