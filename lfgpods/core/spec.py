"""The spec of a pod, a request for one, and the hardening of every pod. Checked before anything is touched. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from typing import Any

from lfgpods.core.errors import UsageError

_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:(?:{_HOST}|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?{_PATH}(?:/{_PATH})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,128})?"
)
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?")
_FACTORS = {
    "m": Decimal("0.001"), "": Decimal(1),
    **{unit: Decimal(1000) ** power for power, unit in enumerate(("k", "M", "G", "T", "P"), 1)},
    **{unit: Decimal(1024) ** power for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi"), 1)},
}  # fmt: skip


def quantity(text: str) -> Decimal:
    """The value of a Kubernetes quantity such as 500m, 2 or 1.5Gi, in cores or bytes. Raises ValueError."""
    match = _QUANTITY.fullmatch(text)
    if not match:
        raise ValueError(f"not a quantity: {text!r}")
    return Decimal(match[1]) * _FACTORS[match[2] or ""]


def same_quantity(one: str, other: str) -> bool:
    """Whether two quantities have the same value, such as 1Gi and 1024Mi."""
    try:
        return quantity(one) == quantity(other)
    except ValueError:
        return one == other


@dataclass(frozen=True)
class Resources:
    """Limits and requests of the container, as Kubernetes quantities. The names are those of LFG."""

    memory: str
    cpu: str
    memory_requests: str
    cpu_requests: str


@dataclass(frozen=True)
class PodSpec:
    """Everything that determines how an owner's pod is created."""

    image: str
    resources: Resources
    storage_size: str
    ports: tuple[int, ...]
    restricted: bool = False
    """Run without root, capabilities and privilege escalation."""
    runtime_class: str | None = None
    storage_class: str | None = None
    """The storage class that provisions the volume; None for a folder on the host."""

    def as_dict(self) -> dict[str, Any]:
        """The spec as JSON, for `from_dict`."""
        found = asdict(self)
        if self.storage_class is None:
            del found["storage_class"]
        return found

    @classmethod
    def from_dict(cls, recorded: Mapping[str, Any]) -> PodSpec:
        """The spec that `as_dict` recorded, also in an older version with fewer fields.

        Raises KeyError, TypeError or ValueError if RECORDED is not a spec.
        """
        return cls(
            image=recorded["image"],
            resources=Resources(**recorded["resources"]),
            storage_size=recorded["storage_size"],
            ports=tuple(recorded["ports"]),
            restricted=bool(recorded.get("restricted")),
            runtime_class=recorded.get("runtime_class"),
            storage_class=recorded.get("storage_class"),
        )


POD_SECURITY_LEVELS = ("privileged", "baseline", "restricted")


@dataclass(frozen=True)
class Hardening:
    """What isolates every pod from the others and from the cluster. Each part can be switched off."""

    service_account_token: bool = False
    seccomp: bool = True
    """Use the runtime's default profile. Without it the node decides, and most use none."""
    pod_security: str = "baseline"
    """The Pod Security level of the namespaces, one of POD_SECURITY_LEVELS."""
    restricted_user: int = 1000
    network_policy: bool = True
    pod_cidrs: tuple[str, ...] = ()
    """The networks of the cluster's pods, if the nodes do not show them."""
    limit_range: bool = True
    resource_quota: bool = True

    def level(self, spec: PodSpec) -> str:
        """The Pod Security level for the namespace of a pod with SPEC: as strict as the pod allows."""
        return "restricted" if spec.restricted and self.pod_security != "privileged" else self.pod_security


@dataclass(frozen=True)
class Request:
    """What a caller asks for. None means: as it is, or the default."""

    image: str | None = None
    memory: str | None = None
    cpu: str | None = None
    memory_requests: str | None = None
    cpu_requests: str | None = None
    storage_size: str | None = None
    ports: tuple[int, ...] | None = None
    restricted: bool | None = None
    runtime_class: str | None = None
    """An empty name means the node's default runtime."""
    storage_class: str | None = None
    """An empty name means a folder on the host."""

    def over(self, base: PodSpec) -> PodSpec:
        """BASE with this request applied, checked as a whole. Raises UsageError.

        A new limit below BASE's resource request lowers that request too, unless this request names it.
        """
        resources = asdict(base.resources)
        for name in resources:
            resources[name] = getattr(self, name) or resources[name]
        for name in ("memory", "cpu"):
            limited = getattr(self, name)
            if limited and not getattr(self, f"{name}_requests") and _exceeds(resources[f"{name}_requests"], limited):
                resources[f"{name}_requests"] = limited
        return checked(
            PodSpec(
                image=self.image or base.image,
                resources=Resources(**resources),
                storage_size=self.storage_size or base.storage_size,
                ports=base.ports if self.ports is None else self.ports,
                restricted=base.restricted if self.restricted is None else self.restricted,
                runtime_class=base.runtime_class if self.runtime_class is None else self.runtime_class or None,
                storage_class=base.storage_class if self.storage_class is None else self.storage_class or None,
            )
        )

    def differences(self, actual: PodSpec) -> tuple[str, ...]:
        """How ACTUAL differs from this request, one phrase each, such as `memory is 1Gi, not 2Gi`."""
        found = []
        wanted = self.over(actual)
        if wanted.image != actual.image:
            found.append(f"image is {actual.image}, not {wanted.image}")
        for field in fields(Resources):
            name = field.name
            asked, has = getattr(self, name), getattr(actual.resources, name)
            if asked and not same_quantity(asked, has):
                found.append(f"{name.replace('_requests', ' request')} is {has}, not {asked}")
        if not same_quantity(wanted.storage_size, actual.storage_size):
            found.append(f"storage size is {actual.storage_size}, not {wanted.storage_size}")
        if set(wanted.ports) != set(actual.ports):
            found.append(f"ports are {_listed(actual.ports)}, not {_listed(wanted.ports)}")
        if wanted.restricted != actual.restricted:
            found.append("restricted is no, not yes" if wanted.restricted else "restricted is yes, not no")
        if wanted.runtime_class != actual.runtime_class:
            found.append(f"runtime class is {actual.runtime_class or 'none'}, not {wanted.runtime_class or 'none'}")
        if wanted.storage_class != actual.storage_class:
            found.append(f"storage is {storage_name(actual)}, not {storage_name(wanted)}")
        return tuple(found)


def storage_name(spec: PodSpec) -> str:
    """The kind of volume, for messages."""
    return f"of class {spec.storage_class}" if spec.storage_class else "a folder on the host"


def _listed(ports: Sequence[int]) -> str:
    return " ".join(map(str, ports)) or "none"


def _exceeds(one: str, other: str) -> bool:
    try:
        return quantity(one) > quantity(other)
    except ValueError:
        return False


def checked(spec: PodSpec) -> PodSpec:
    """Returns SPEC if it is valid. Raises UsageError for the first invalid value."""
    if len(spec.image) > 512 or not _IMAGE.fullmatch(spec.image):
        raise UsageError(
            f"the image {spec.image[:100]!r} is not a valid reference",
            "Write [registry/]name[:tag] in lower case, for example python:3.12.",
            code="invalid_image",
        )
    amounts = {**asdict(spec.resources), "storage_size": spec.storage_size}
    for name, amount in amounts.items():
        label = name.replace("_", " ")
        try:
            if quantity(amount) > 0:
                continue
        except ValueError:
            pass
        raise UsageError(
            f"the {label} {amount[:40]!r} is not a valid quantity",
            "Write memory and sizes as 512Mi or 2Gi, and CPU as 500m or 2.",
            code="invalid_quantity",
        )
    for name in ("memory", "cpu"):
        request, limit = amounts[f"{name}_requests"], amounts[name]
        if quantity(request) > quantity(limit):
            raise UsageError(
                f"the {name} request {request} is above the {name} limit {limit}",
                f"Raise --{name} or lower --{name}-request.",
                code="invalid_quantity",
            )
    for port in spec.ports:
        if not 1 <= port <= 65535:
            raise UsageError(f"port {port} is out of range", "Use a port from 1 to 65535.", code="invalid_port")
    if not spec.ports or len(set(spec.ports)) != len(spec.ports):
        raise UsageError("the list of ports is empty or has a duplicate", "Give each port once.", code="invalid_port")
    for kind, chosen, example in (
        ("runtime", spec.runtime_class, "gvisor"),
        ("storage", spec.storage_class, "longhorn"),
    ):
        if chosen is not None and (len(chosen) > 253 or not _SUBDOMAIN.fullmatch(chosen)):
            raise UsageError(
                f"the {kind} class {chosen[:100]!r} is not a valid name",
                f"Use one that kubectl get {kind}classes lists, for example {example}.",
                code=f"invalid_{kind}_class",
            )
    return spec


def request_from_limits(image: str | None, resource_limits: Mapping[str, Any] | None) -> Request:
    """A Request from LFG's arguments. Raises UsageError for an unknown key."""
    limits = {str(name): str(value) for name, value in (resource_limits or {}).items() if value is not None}
    known = [field.name for field in fields(Resources)]
    unknown = sorted(set(limits) - set(known))
    if unknown:
        raise UsageError(f"unknown resource limit {unknown[0]!r}", f"The keys are {', '.join(known)}.")
    return Request(
        image=image,
        memory=limits.get("memory"),
        cpu=limits.get("cpu"),
        memory_requests=limits.get("memory_requests"),
        cpu_requests=limits.get("cpu_requests"),
    )
