"""The shape of a Kubernetes object, in every field that lfgpods reads, and whether an answer has it. Pure.

What kubectl prints came over a network from a machine that may be broken or hostile; past this check the rest of
the code may rely on types. Fields that are missing or null are fine, and those that nobody reads may be anything.
"""

from __future__ import annotations

from typing import Any

_TEXTS: dict[str, Any] = {"*": str}
_ENDED = {"reason": str, "message": str, "exitCode": int}
_CONTAINER_STATUS = {
    "image": str,
    "state": {"waiting": {"reason": str, "message": str}, "terminated": _ENDED, "running": {}},
    "lastState": {"terminated": _ENDED},
    "restartCount": int,
}
_SECURITY_CONTEXT = {"allowPrivilegeEscalation": bool, "runAsNonRoot": bool, "capabilities": {"drop": [str]}}
_CONTAINER = {
    "name": str,
    "image": str,
    "resources": {"limits": _TEXTS, "requests": _TEXTS},
    "securityContext": _SECURITY_CONTEXT,
}
_POD_SPEC = {
    "containers": [_CONTAINER],
    "nodeName": str,
    "runtimeClassName": str,
    "securityContext": _SECURITY_CONTEXT,
}
_METADATA = {
    "name": str,
    "namespace": str,
    "labels": _TEXTS,
    "annotations": _TEXTS,
    "resourceVersion": str,
    "uid": str,
    "creationTimestamp": str,
    "deletionTimestamp": str,
}
OBJECT: dict[str, Any] = {
    "kind": str,
    "lastTimestamp": str,
    "metadata": _METADATA,
    "spec": {
        **_POD_SPEC,
        "replicas": int,
        "template": {"metadata": {"labels": _TEXTS, "annotations": _TEXTS}, "spec": _POD_SPEC},
        "ports": [{"port": int, "nodePort": int}],
        "clusterIP": str,
        "capacity": _TEXTS,
        "claimRef": {"namespace": str, "name": str, "uid": str},
        "hostPath": {"path": str},
        "volumeName": str,
        "storageClassName": str,
        "persistentVolumeReclaimPolicy": str,
        "nodeAffinity": {
            "required": {"nodeSelectorTerms": [{"matchExpressions": [{"key": str, "operator": str, "values": [str]}]}]}
        },
        "holderIdentity": str,
        "renewTime": str,
        "leaseDurationSeconds": int,
    },
    "status": {
        "phase": str,
        "reason": str,
        "message": str,
        "startTime": str,
        "readyReplicas": int,
        "conditions": [{"type": str, "status": str, "reason": str, "message": str}],
        "containerStatuses": [_CONTAINER_STATUS],
        "initContainerStatuses": [_CONTAINER_STATUS],
    },
}
"""Types of plain values, `{}` for mappings of which nothing is read, `{"*": ...}` for those of any keys."""
PARTS: dict[str, dict[str, Any]] = {
    "Namespace": {"metadata": _METADATA},
    "PersistentVolume": {"metadata": _METADATA, "spec": OBJECT["spec"]},
    "PersistentVolumeClaim": {"metadata": _METADATA, "spec": OBJECT["spec"]},
    "Service": {"metadata": _METADATA, "spec": OBJECT["spec"]},
    "Pod": {"metadata": _METADATA, "spec": {"nodeName": str}, "status": OBJECT["status"]},
    "Lease": {"metadata": _METADATA, "spec": OBJECT["spec"]},
}
"""What is read of an object that is one of many, by its kind; of other kinds all that is read of any."""
_NEEDED = {
    "Deployment": ("spec", "template"),
    "Lease": ("metadata", "resourceVersion"),
    "PersistentVolume": ("spec",),
    "PersistentVolumeClaim": ("spec",),
    "Service": ("spec",),
}


def checked(obj: Any) -> dict[str, Any]:
    """OBJ itself, if it is an object with a kind and a name. Raises TypeError or KeyError."""
    _check(obj, OBJECT, "object")
    return dict(completed(obj))


def completed(obj: dict[str, Any]) -> dict[str, Any]:
    """OBJ, each field of which is of the right type, itself, if none is missing without which it is no object.

    Raises TypeError or KeyError.
    """
    if not (obj["kind"] and obj["metadata"]["name"]):
        raise TypeError("an object without a kind or a name")
    needed = obj
    for name in _NEEDED.get(obj["kind"], ()):
        needed = needed[name]
        if needed is None:
            raise TypeError(f"a {obj['kind']} without {name}")
    if obj["kind"] == "Service" and not all(port.get("port") for port in obj["spec"].get("ports") or ()):
        raise TypeError("a Service with a port without a number")
    return obj


def _check(value: Any, shape: Any, where: str) -> None:
    if isinstance(shape, type):
        if not isinstance(value, shape):
            raise TypeError(f"{where} is of type {type(value).__name__}")
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise TypeError(f"{where} is no list")
        for item in value:
            _check(item, shape[0], where)
    elif not isinstance(value, dict):
        raise TypeError(f"{where} is no mapping")
    elif "*" in shape:
        for name, below in value.items():
            _check(below, shape["*"], f"{where}.{name}")
    else:
        for name, below in shape.items():
            if value.get(name) is not None:
                _check(value[name], below, f"{where}.{name}")
