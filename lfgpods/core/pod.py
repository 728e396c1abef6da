"""A pod as the Python API, the store and the output all represent it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from lfgpods.core.errors import PodNotFoundError
from lfgpods.core.kinds import State as State
from lfgpods.core.owners import Owner, OwnerKind
from lfgpods.core.spec import PodSpec


def no_such_pod(owner: Owner) -> PodNotFoundError:
    """The error for an owner without a pod and without a volume."""
    return PodNotFoundError(f"there is no pod and no volume of {owner}", f"Create one: lfgpods create {owner.option}")


@dataclass(frozen=True)
class ServicePort:
    """A port of the pod, and the node port and URL to reach it from outside."""

    port: int
    node_port: int
    url: str


@dataclass(frozen=True)
class Pod:
    """An owner's pod at one moment. Times are ISO 8601 in UTC."""

    owner: Owner
    namespace: str
    status: State
    spec: PodSpec
    volume: str
    """The volume folder on the host, or `persistentvolume/NAME` of a provisioned volume."""
    reason: str = ""
    pod_name: str | None = None
    conversation_id: str | None = None
    service_name: str | None = None
    cluster_ip: str | None = None
    ports: tuple[ServicePort, ...] = ()
    created_at: str | None = None
    started_at: str | None = None
    last_used_at: str | None = None
    volume_nodes: frozenset[str] = field(default=frozenset(), compare=False)
    """The hostname labels of the nodes that can reach the volume. Empty: any node can."""
    differences: tuple[str, ...] = field(default=(), compare=False)
    """How the pod differs from the request, in words. Only `ensure` fills it."""
    notices: tuple[str, ...] = field(default=(), compare=False)
    """What `ensure` repaired on the way, in words. Only `ensure` fills it."""

    @property
    def project_id(self) -> str | None:
        return self.owner.id if self.owner.kind is OwnerKind.PROJECT else None

    @property
    def image(self) -> str:
        return self.spec.image

    @property
    def resource_limits(self) -> dict[str, str]:
        """The keys memory, cpu, memory_requests and cpu_requests, as Kubernetes quantities."""
        resources = self.spec.resources
        return {
            "memory": resources.memory,
            "cpu": resources.cpu,
            "memory_requests": resources.memory_requests,
            "cpu_requests": resources.cpu_requests,
        }

    @property
    def access_url(self) -> str | None:
        """The URL of the first port, if the pod has a service."""
        return self.ports[0].url if self.ports else None

    @property
    def service_details(self) -> dict[str, Any]:
        """access_url, node_port, service_name, cluster_ip, and a list of ports with port, node_port and url."""
        return {
            "access_url": self.access_url,
            "node_port": self.ports[0].node_port if self.ports else None,
            "service_name": self.service_name,
            "cluster_ip": self.cluster_ip,
            "ports": [{"port": p.port, "node_port": p.node_port, "url": p.url} for p in self.ports],
        }

    def without_workload(self) -> Pod:
        """The pod after its Deployment and Service were deleted and its volume was kept."""
        return replace(
            self,
            status=State.DELETED,
            reason="no pod; the data is kept",
            pod_name=None,
            service_name=None,
            cluster_ip=None,
            ports=(),
            started_at=None,
        )

    def as_dict(self) -> dict[str, Any]:
        """The fields of the JSON and YAML output; their names are stable."""
        return {
            "project_id": self.project_id,
            "conversation_id": self.conversation_id,
            "namespace": self.namespace,
            "pod_name": self.pod_name,
            "status": self.status.value,
            "reason": self.reason,
            "image": self.image,
            "resource_limits": self.resource_limits,
            "storage_size": self.spec.storage_size,
            "restricted": self.spec.restricted,
            "runtime_class": self.spec.runtime_class,
            "volume": self.volume,
            "storage_class": self.spec.storage_class,
            "volume_nodes": sorted(self.volume_nodes),
            "service_details": self.service_details,
            "created_at": self.created_at,
            "started_at": self.started_at,
            "last_used_at": self.last_used_at,
            "differences": list(self.differences),
            "notices": list(self.notices),
        }


@dataclass(frozen=True)
class Deletion:
    """What was deleted: the pod, and if `purged`, the data in `volume` too."""

    owner: Owner
    namespace: str
    volume: str
    purged: bool

    def as_dict(self) -> dict[str, Any]:
        """The fields of the JSON and YAML output; their names are stable."""
        return {
            "owner": f"{self.owner.kind}/{self.owner.id}",
            "namespace": self.namespace,
            "volume": self.volume,
            "purged": self.purged,
        }
