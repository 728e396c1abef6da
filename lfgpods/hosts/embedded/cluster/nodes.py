"""The one node of the embedded cluster, which is this machine, and what else a cluster has from its first day."""

from __future__ import annotations

import os
import platform
from decimal import Decimal

from lfgpods.core.objects import Object
from lfgpods.core.version import __version__
from lfgpods.hosts.embedded.cluster.kinds import NAMESPACE, NODE, STORAGE_CLASS
from lfgpods.hosts.embedded.cluster.objects import World
from lfgpods.hosts.embedded.cluster.provisioner import storage_class

NODE_NAME = "embedded"
POD_NETWORK = "10.244.0.0/24"
VERSION = f"v1.32.0+lfgpods.{__version__}"


def capacity() -> dict[str, Decimal]:
    """What this machine has, in cores and bytes."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": Decimal(os.cpu_count() or 1), "memory": Decimal(memory)}


def ensure_basics(world: World) -> None:
    """Make what every cluster has where it is missing: the node, the default namespace and the storage class."""
    for kind, obj in ((NODE, _node(world)), (NAMESPACE, _default_namespace()), (STORAGE_CLASS, storage_class())):
        if world.find(kind, "", obj["metadata"]["name"]) is None:
            world.add(kind, obj)


def version() -> dict[str, str]:
    """What `kubectl version` and the API server say of themselves."""
    return {
        "major": "1",
        "minor": "32",
        "gitVersion": VERSION,
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "none",
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }


def _node(world: World) -> Object:
    resources = {"cpu": f"{capacity()['cpu']}", "memory": f"{int(capacity()['memory'] // 1024)}Ki", "pods": "110"}
    ready = {
        "lastHeartbeatTime": world.time,
        "lastTransitionTime": world.time,
        "message": "the embedded host answers",
        "reason": "KubeletReady",
        "status": "True",
        "type": "Ready",
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE_NAME, "labels": {"kubernetes.io/hostname": NODE_NAME}},
        "spec": {"podCIDR": POD_NETWORK, "podCIDRs": [POD_NETWORK]},
        "status": {
            "addresses": [
                {"address": "127.0.0.1", "type": "InternalIP"},
                {"address": NODE_NAME, "type": "Hostname"},
            ],
            "allocatable": resources,
            "capacity": resources,
            "conditions": [ready],
            "nodeInfo": {"kubeletVersion": VERSION, "operatingSystem": "linux"},
        },
    }


def _default_namespace() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": "default"},
        "spec": {"finalizers": ["kubernetes"]},
        "status": {"phase": "Active"},
    }
