"""Validates objects and sets their defaults before they are stored, as the API server does. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from lfgpods.core.objects import Object
from lfgpods.hosts.embedded.cluster.errors import ApiError, InvalidError
from lfgpods.hosts.embedded.cluster.kinds import CLAIM, DEPLOYMENT, NAMESPACE, POD, SERVICE, VOLUME, Kind
from lfgpods.hosts.embedded.cluster.objects import Objects

NODE_PORTS = range(30000, 32768)
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"


def set_defaults(objects: Objects, kind: Kind, obj: Object) -> None:
    """Set the defaults of OBJ, and the addresses of a Service. Idempotent."""
    if kind is NAMESPACE:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = obj["metadata"]["name"]
        obj.setdefault("spec", {}).setdefault("finalizers", ["kubernetes"])
        obj.setdefault("status", {}).setdefault("phase", "Active")
    elif kind is VOLUME:
        obj["metadata"].setdefault("finalizers", ["kubernetes.io/pv-protection"])
        _default(obj["spec"], persistentVolumeReclaimPolicy="Retain", volumeMode="Filesystem")
        _default(obj.setdefault("status", {}), phase="Pending", lastPhaseTransitionTime=objects.time)
    elif kind is CLAIM:
        obj["metadata"].setdefault("finalizers", ["kubernetes.io/pvc-protection"])
        _default(obj["spec"], volumeMode="Filesystem")
        obj.setdefault("status", {}).setdefault("phase", "Pending")
    elif kind is SERVICE:
        _default_service(objects, obj)
    elif kind is DEPLOYMENT:
        _default_deployment(obj)
    elif kind is POD:
        _default_pod_spec(obj["spec"])
        obj.setdefault("status", {"phase": "Pending", "qosClass": "Burstable"})


def validate(kind: Kind, obj: Object, live: Object | None) -> None:
    """Raise the ApiError or InvalidError that Kubernetes has for OBJ; LIVE is the stored object, if there is one."""
    name = obj["metadata"]["name"]
    pattern, words, others, example = _LABEL, "label", " or '-'", "'my-name',  or '123-abc'"
    if kind is not NAMESPACE and kind is not SERVICE:
        pattern, words, others, example = _SUBDOMAIN, "subdomain", ", '-' or '.'", "'example.com'"
    if not re.fullmatch(pattern, name) or len(name) > 253:
        raise InvalidError(
            kind,
            name,
            [
                f'metadata.name: Invalid value: "{name}": a lowercase RFC 1123 {words} must consist of lower case '
                f"alphanumeric characters{others}, and must start and end with an alphanumeric character "
                f"(e.g. {example}, regex used for validation is '{pattern}')"
            ],
        )
    wrong = _VALIDATORS.get(kind.name, _valid)(obj, live)
    if wrong:
        raise InvalidError(kind, name, wrong)
    if kind is CLAIM and live and live["spec"].get("resources") != obj["spec"].get("resources"):
        raise ApiError(
            "Forbidden",
            f'persistentvolumeclaims "{name}" is forbidden: only dynamically provisioned pvc can be resized '
            "and the storageclass that provisions the pvc must support resize",
        )


def _valid(obj: Object, live: Object | None) -> list[str]:
    return []


def _validate_volume(obj: Object, live: Object | None) -> list[str]:
    if live and live["spec"].get("hostPath") != obj["spec"].get("hostPath"):
        return ["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"]
    if not live and "hostPath" not in obj["spec"]:
        return ["spec: Required value: must specify a volume type"]
    return []


def _validate_claim(obj: Object, live: Object | None) -> list[str]:
    if not live:
        return []
    parts = ("accessModes", "storageClassName", "volumeMode", "selector")
    renamed = live["spec"].get("volumeName") not in (None, obj["spec"].get("volumeName"))
    if renamed or any(live["spec"].get(part) != obj["spec"].get(part) for part in parts):
        return ["spec: Forbidden: spec is immutable after creation except resources.requests for bound claims"]
    return []


def _validate_containers(spec: Object, path: str) -> list[str]:
    containers = spec.get("containers") or []
    if not containers:
        return [f"{path}.containers: Required value"]
    numbered = enumerate(containers)
    return [f"{path}.containers[{n}].image: Required value" for n, container in numbered if not container.get("image")]


def _validate_pod(obj: Object, live: Object | None) -> list[str]:
    return _validate_containers(obj["spec"], "spec")


def _validate_deployment(obj: Object, live: Object | None) -> list[str]:
    wrong = []
    spec = obj["spec"]
    selector = (spec.get("selector") or {}).get("matchLabels") or {}
    labels = spec["template"]["metadata"].get("labels") or {}
    wrong += _validate_containers(spec["template"]["spec"], "spec.template.spec")
    if not all(labels.get(key) == value for key, value in selector.items()):
        shown = json.dumps(labels, sort_keys=True, separators=(",", ":"))
        wrong.append(
            f"spec.template.metadata.labels: Invalid value: {shown}: `selector` does not match template `labels`"
        )
    if live and live["spec"].get("selector") != spec.get("selector"):
        shown = json.dumps({"matchLabels": selector}, sort_keys=True, separators=(",", ":"))
        wrong.append(f"spec.selector: Invalid value: {shown}: field is immutable")
    return wrong


def _validate_service(obj: Object, live: Object | None) -> list[str]:
    wrong = []
    if not obj["spec"].get("ports"):
        wrong.append("spec.ports: Required value")
    for number, port in enumerate(obj["spec"].get("ports") or []):
        for field in ("port", "targetPort"):
            value = port.get(field, port.get("port"))
            if value is None or (isinstance(value, int) and not 1 <= value <= 65535):
                problem = f"Invalid value: {value}: must be between 1 and 65535, inclusive"
                wrong.append(f"spec.ports[{number}].{field}: {problem}")
    return wrong


_VALIDATORS: dict[str, Callable[[Object, Object | None], list[str]]] = {
    VOLUME.name: _validate_volume,
    CLAIM.name: _validate_claim,
    DEPLOYMENT.name: _validate_deployment,
    SERVICE.name: _validate_service,
    POD.name: _validate_pod,
}


def _default(obj: Object, **values: Any) -> None:
    for key, value in values.items():
        obj.setdefault(key, value)


def _default_service(objects: Objects, obj: Object) -> None:
    spec = obj["spec"]
    _default(spec, type="ClusterIP", sessionAffinity="None", internalTrafficPolicy="Cluster")
    _default(spec, ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    others = [record.obj["spec"] for record in objects.all(SERVICE) if record.obj is not obj]
    if "clusterIP" not in spec:
        taken = {other.get("clusterIP") for other in others}
        spec["clusterIP"] = next(ip for ip in _addresses() if ip not in taken)
    _default(spec, clusterIPs=[spec["clusterIP"]])
    used = {port.get("nodePort") for other in [*others, spec] for port in other.get("ports") or []}
    for port in spec.get("ports") or []:
        _default(port, protocol="TCP", targetPort=port.get("port"))
        if spec["type"] == "NodePort" and "nodePort" not in port:
            port["nodePort"] = next(number for number in NODE_PORTS if number not in used)
            used.add(port["nodePort"])
    if spec["type"] == "NodePort":
        _default(spec, externalTrafficPolicy="Cluster")
    obj.setdefault("status", {}).setdefault("loadBalancer", {})


def _addresses() -> Iterator[str]:
    return (f"10.96.{high}.{low}" for high in range(1, 256) for low in range(1, 255))


def _default_deployment(obj: Object) -> None:
    spec = obj["spec"]
    _default(spec, progressDeadlineSeconds=600, replicas=1, revisionHistoryLimit=10, strategy={})
    _default(spec["strategy"], type="RollingUpdate")
    if spec["strategy"]["type"] == "RollingUpdate":
        _default(spec["strategy"], rollingUpdate={"maxSurge": "25%", "maxUnavailable": "25%"})
    template = spec["template"]
    template.setdefault("metadata", {})
    _default_pod_spec(template["spec"])
    obj.setdefault("status", {})


def _default_pod_spec(spec: Object) -> None:
    _default(
        spec,
        dnsPolicy="ClusterFirst",
        restartPolicy="Always",
        schedulerName="default-scheduler",
        securityContext={},
        terminationGracePeriodSeconds=30,
    )
    for container in spec.get("containers") or []:
        image = container.get("image") or ""
        latest = ":" not in image.rpartition("/")[2] or image.endswith(":latest")
        _default(
            container,
            imagePullPolicy="Always" if latest and "@" not in image else "IfNotPresent",
            resources={},
            terminationMessagePath="/dev/termination-log",
            terminationMessagePolicy="File",
        )
        for port in container.get("ports") or []:
            _default(port, protocol="TCP")
        resources = container["resources"]
        for key, value in (resources.get("limits") or {}).items():
            resources.setdefault("requests", {}).setdefault(key, value)
