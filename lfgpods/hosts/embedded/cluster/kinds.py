"""The kinds that the embedded cluster has, and the names that kubectl accepts for them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of object; `group` is empty for the core group."""

    name: str
    plural: str
    short: str
    namespaced: bool
    group: str = ""

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1" if self.group else "v1"

    @property
    def resource(self) -> str:
        """The name in error messages, such as `deployments.apps`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular(self) -> str:
        """The name that kubectl prints, such as `deployment.apps`."""
        return f"{self.name.lower()}.{self.group}" if self.group else self.name.lower()


NAMESPACE = Kind("Namespace", "namespaces", "ns", namespaced=False)
NODE = Kind("Node", "nodes", "no", namespaced=False)
VOLUME = Kind("PersistentVolume", "persistentvolumes", "pv", namespaced=False)
CLAIM = Kind("PersistentVolumeClaim", "persistentvolumeclaims", "pvc", namespaced=True)
SERVICE = Kind("Service", "services", "svc", namespaced=True)
POD = Kind("Pod", "pods", "po", namespaced=True)
EVENT = Kind("Event", "events", "ev", namespaced=True)
DEPLOYMENT = Kind("Deployment", "deployments", "deploy", namespaced=True, group="apps")
LEASE = Kind("Lease", "leases", "lease", namespaced=True, group="coordination.k8s.io")
NETWORK_POLICY = Kind("NetworkPolicy", "networkpolicies", "netpol", namespaced=True, group="networking.k8s.io")
QUOTA = Kind("ResourceQuota", "resourcequotas", "quota", namespaced=True)
LIMITS = Kind("LimitRange", "limitranges", "limits", namespaced=True)

STORAGE_CLASS = Kind("StorageClass", "storageclasses", "sc", namespaced=False, group="storage.k8s.io")

INERT = (LEASE, NETWORK_POLICY, QUOTA, LIMITS, STORAGE_CLASS)
"""Kinds that are stored, and that no controller acts on."""

KINDS = (NAMESPACE, NODE, VOLUME, CLAIM, SERVICE, POD, EVENT, DEPLOYMENT, *INERT)
_BY_WORD = {
    word: kind for kind in KINDS for word in (kind.name.lower(), kind.plural, kind.short, kind.resource, kind.singular)
}
_BY_NAME = {kind.name: kind for kind in KINDS}


def kind_called(word: str) -> Kind | None:
    """The kind with this name on a command line, such as `deploy` or `deployments.apps`; None if there is none."""
    return _BY_WORD.get(word.lower())


def kind_named(name: str) -> Kind | None:
    """The kind with this name in a manifest; None if there is none."""
    return _BY_NAME.get(name)
