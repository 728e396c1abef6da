"""The only node of the embedded cluster, which is this machine, and the other objects of an empty cluster."""

from __future__ import annotations

import os
import platform
from decimal import Decimal

from lfgpods.core.objects import Object
from lfgpods.core.version import __version__
from lfgpods.hosts.embedded.cluster.kinds import NAMESPACE, NODE, STORAGE_CLASS
from lfgpods.hosts.embedded.cluster.objects import Objects
from lfgpods.hosts.embedded.cluster.provisioner import storage_class

NODE_NAME = "embedded"
POD_NETWORK = "10.244.0.0/24"
RELEASE = "1.37.2"
"""The release of Kubernetes whose answers this cluster gives."""
VERSION = f"v{RELEASE}+lfgpods.{__version__}"


def capacity() -> dict[str, Decimal]:
    """The CPU (in cores) and memory (in bytes) of this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"cpu": Decimal(os.cpu_count() or 1), "memory": Decimal(memory)}


def bootstrap(objects: Objects) -> None:
    """Create the node, the default namespace and the storage class if they are missing."""
    for kind, obj in ((NODE, _node(objects)), (NAMESPACE, _default_namespace()), (STORAGE_CLASS, storage_class())):
        if objects.find(kind, "", obj["metadata"]["name"]) is None:
            objects.add(kind, obj)


def version() -> dict[str, str]:
    """The version that the API server and kubectl report."""
    major, minor, _ = RELEASE.split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": VERSION,
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "none",
        "platform": f"{platform.system().lower()}/{platform.machine()}",
    }


def _node(objects: Objects) -> Object:
    resources = {"cpu": f"{capacity()['cpu']}", "memory": f"{int(capacity()['memory'] // 1024)}Ki", "pods": "110"}
    ready = {
        "lastHeartbeatTime": objects.time,
        "lastTransitionTime": objects.time,
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
