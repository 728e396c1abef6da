"""Kubernetes' objects as types, with the fields that lfgpods reads.

kubectl's answers come over a network from a machine that may be broken or hostile. Decoding checks the type of every
field below, so that the rest of the code may rely on it. A field that is missing or null has its default. A field that
is not listed here may be anything.

Loads msgspec: import this module where an answer is decoded, and elsewhere for type checking only.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Any, ClassVar, Generic, Literal, TypeAlias, TypeVar, dataclass_transform

import msgspec
from msgspec import Meta, field, structs

from lfgpods.core.objects import Object

T = TypeVar("T")


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
class _Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """A JSON object, with the fields that lfgpods reads of it."""


class Metadata(_Part):
    name: Annotated[str, Meta(min_length=1)]
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str = ""


class Condition(_Part):
    type: str = ""
    status: str = ""
    reason: str = ""
    message: str = ""


class Namespace(_Part, tag_field="kind", tag="Namespace"):
    kind: ClassVar[Literal["Namespace"]] = "Namespace"
    metadata: Metadata


class ClaimReference(_Part):
    namespace: str = ""
    name: str = ""
    uid: str = ""


class HostPath(_Part):
    path: str = ""


class NodeSelectorRequirement(_Part):
    key: str = ""
    operator: str = ""
    values: tuple[str, ...] = ()


class NodeSelectorTerm(_Part):
    match_expressions: tuple[NodeSelectorRequirement, ...] = ()


class NodeSelector(_Part):
    node_selector_terms: tuple[NodeSelectorTerm, ...] = ()


class NodeAffinity(_Part):
    required: NodeSelector = NodeSelector()


class PersistentVolumeSpec(_Part):
    capacity: dict[str, str] = {}
    claim_ref: ClaimReference | None = None
    host_path: HostPath = HostPath()
    node_affinity: NodeAffinity = NodeAffinity()
    persistent_volume_reclaim_policy: str = ""
    storage_class_name: str | None = None


class PersistentVolumeStatus(_Part):
    phase: str = ""
    message: str = ""


class PersistentVolume(_Part, tag_field="kind", tag="PersistentVolume"):
    kind: ClassVar[Literal["PersistentVolume"]] = "PersistentVolume"
    metadata: Metadata
    spec: PersistentVolumeSpec
    status: PersistentVolumeStatus = PersistentVolumeStatus()

    @property
    def claim(self) -> ClaimReference:
        """The claim that the volume is bound to or reserved for; its fields are empty if there is none."""
        return self.spec.claim_ref or ClaimReference()


class PersistentVolumeClaimSpec(_Part):
    volume_name: str = ""
    storage_class_name: str | None = None


class PersistentVolumeClaim(_Part, tag_field="kind", tag="PersistentVolumeClaim"):
    kind: ClassVar[Literal["PersistentVolumeClaim"]] = "PersistentVolumeClaim"
    metadata: Metadata
    spec: PersistentVolumeClaimSpec


class Capabilities(_Part):
    drop: tuple[str, ...] = ()


class SecurityContext(_Part):
    """That of a pod or of a container."""

    allow_privilege_escalation: bool | None = None
    run_as_non_root: bool | None = None
    capabilities: Capabilities = Capabilities()


class ResourceRequirements(_Part):
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}


class Container(_Part):
    image: str = ""
    resources: ResourceRequirements = ResourceRequirements()
    security_context: SecurityContext = SecurityContext()


class PodTemplateSpec(_Part):
    """The `spec` of a Deployment's pod template."""

    containers: tuple[Container, ...] = ()
    runtime_class_name: str | None = None
    security_context: SecurityContext = SecurityContext()


class PodTemplateMetadata(_Part):
    annotations: dict[str, str] = {}


class PodTemplate(_Part):
    metadata: PodTemplateMetadata = PodTemplateMetadata()
    spec: PodTemplateSpec = PodTemplateSpec()


class DeploymentSpec(_Part):
    template: PodTemplate
    replicas: int = 1


class DeploymentStatus(_Part):
    ready_replicas: int | None = None
    conditions: tuple[Condition, ...] = ()


class Deployment(_Part, tag_field="kind", tag="Deployment"):
    kind: ClassVar[Literal["Deployment"]] = "Deployment"
    metadata: Metadata
    spec: DeploymentSpec
    status: DeploymentStatus = DeploymentStatus()


class ServicePort(_Part):
    port: Annotated[int, Meta(ge=1)]
    node_port: int | None = None


class ServiceSpec(_Part):
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str | None = field(name="clusterIP", default=None)


class Service(_Part, tag_field="kind", tag="Service"):
    kind: ClassVar[Literal["Service"]] = "Service"
    metadata: Metadata
    spec: ServiceSpec


class Waiting(_Part):
    reason: str = ""
    message: str = ""


class Terminated(_Part):
    reason: str = ""
    message: str = ""
    exit_code: int | None = None


class Running(_Part):
    """Of a container that runs."""


class ContainerState(_Part):
    waiting: Waiting | None = None
    running: Running | None = None
    terminated: Terminated | None = None


class ContainerStatus(_Part):
    image: str = ""
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()
    restart_count: int = 0


class PodStatus(_Part):
    phase: str = ""
    reason: str = ""
    message: str = ""
    start_time: str | None = None
    conditions: tuple[Condition, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    ephemeral_container_statuses: tuple[ContainerStatus, ...] = ()


class PodSpec(_Part):
    node_name: str = ""


class Pod(_Part, tag_field="kind", tag="Pod"):
    kind: ClassVar[Literal["Pod"]] = "Pod"
    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class LeaseMetadata(Metadata, kw_only=True):
    resource_version: str


class LeaseSpec(_Part):
    holder_identity: str = ""
    lease_duration_seconds: int | None = None
    renew_time: str = ""


class Lease(_Part, tag_field="kind", tag="Lease"):
    kind: ClassVar[Literal["Lease"]] = "Lease"
    metadata: LeaseMetadata
    spec: LeaseSpec = LeaseSpec()


class Event(_Part, tag_field="kind", tag="Event"):
    kind: ClassVar[Literal["Event"]] = "Event"
    metadata: Metadata
    reason: str = ""
    message: str = ""
    last_timestamp: str = ""


class OtherObject(_Part):
    """An object of any other kind, such as a policy that was applied: only its name is read."""

    kind: Annotated[str, Meta(min_length=1)]
    metadata: Metadata


ListedObject: TypeAlias = Namespace | PersistentVolume | PersistentVolumeClaim | Deployment | Service | Pod | Lease
"""An object of one of the kinds that lfgpods lists in the whole cluster."""
KubeObject: TypeAlias = ListedObject | Event | OtherObject

_TYPES: dict[str, Any] = {
    one.kind: one
    for one in (Namespace, PersistentVolume, PersistentVolumeClaim, Deployment, Service, Pod, Lease, Event)
}


def read_object(document: Any) -> KubeObject:
    """DOCUMENT, the dict of an object's JSON, as an object of its kind.

    Raises KeyError, TypeError or ValueError if it is no object, or if a field is of the wrong type.
    """
    type = _TYPES.get(document["kind"], OtherObject)
    found: KubeObject
    try:
        found = msgspec.convert(document, type)
    except msgspec.ValidationError:
        found = msgspec.convert(_without_nulls(document), type)  # seldom: Kubernetes leaves most empty fields out
    return found


def with_node_affinity(volume: PersistentVolume, affinity: Object) -> PersistentVolume:
    """VOLUME with AFFINITY, the JSON of a nodeAffinity."""
    spec = structs.replace(volume.spec, node_affinity=msgspec.convert(affinity, NodeAffinity))
    return structs.replace(volume, spec=spec)


def without_status(deployment: Deployment) -> Deployment:
    """DEPLOYMENT as it was before its controller first saw it."""
    return structs.replace(deployment, status=DeploymentStatus())


class ListMetadata(_Part):
    continue_: str = field(name="continue", default="")


class ListPage(_Part, Generic[T]):
    """One page of a list."""

    kind: str
    metadata: ListMetadata
    items: list[T]


def read_list(page: bytes | bytearray, kind: str) -> ListPage[ListedObject]:
    """PAGE, the JSON of a list of KIND, or of several kinds if KIND is empty.

    The API server leaves the kind out of the items of a list of one kind. Raises ValueError, TypeError or
    RecursionError if PAGE is no list, or if a field is of the wrong type.
    """
    decoder = _list_decoder(kind)
    try:
        return decoder.decode(page)
    except msgspec.ValidationError:
        found: ListPage[ListedObject] = msgspec.convert(_without_nulls(json.loads(page)), decoder.type)
        return found


@cache
def _list_decoder(kind: str) -> msgspec.json.Decoder[ListPage[ListedObject]]:
    item: Any = _TYPES[kind] if kind else ListedObject
    return msgspec.json.Decoder(ListPage[item])


def _without_nulls(value: Any) -> Any:
    """VALUE without the fields that are null."""
    if isinstance(value, dict):
        return {name: _without_nulls(below) for name, below in value.items() if below is not None}
    return [_without_nulls(below) for below in value] if isinstance(value, list) else value
