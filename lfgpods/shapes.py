"""Whether an answer has the shape of a Kubernetes object, in every field that lfgpods reads. Pure.

What kubectl prints came over a network from a machine that may be broken or hostile; past this check the rest of
the code may rely on types. Fields that are missing or null are fine, and those that nobody reads may be anything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
_OBJECT: dict[str, Any] = {
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
_NEEDED = {
    "Deployment": ("spec", "template"),
    "Lease": ("metadata", "resourceVersion"),
    "PersistentVolume": ("spec",),
    "PersistentVolumeClaim": ("spec",),
    "Service": ("spec",),
}


_PARTS = {
    "Namespace": ("kind", "metadata"),
    "PersistentVolume": ("kind", "metadata", "spec"),
    "PersistentVolumeClaim": ("kind", "metadata"),
    "Service": ("kind", "metadata", "spec"),
    "Pod": ("kind", "metadata", "status"),
    "Lease": ("kind", "metadata", "spec"),
}
"""What is read of an object that is one of many, by its kind; of other kinds all that is read of any."""


def checked(obj: Any) -> dict[str, Any]:
    """OBJ itself, if it is an object with a kind and a name. Raises TypeError or KeyError."""
    _completed(_read(obj))
    return dict(obj)


def reduced(obj: dict[str, Any]) -> dict[str, Any]:
    """What lfgpods reads of OBJ, which is one of many, without all the rest. Raises as `checked` does."""
    return _completed(_READ_OF.get(obj["kind"], _read)(obj))


def _completed(found: dict[str, Any]) -> dict[str, Any]:
    """FOUND itself, if nothing is missing without which it is no object."""
    if not (found["kind"] and found["metadata"]["name"]):
        raise TypeError("an object without a kind or a name")
    needed = found
    for name in _NEEDED.get(found["kind"], ()):
        needed = needed[name]
    if found["kind"] == "Service" and not all(port.get("port") for port in found["spec"].get("ports") or ()):
        raise TypeError("a Service with a port without a number")
    return found


_Reader = Callable[[Any], Any]


def _reader_of(shape: Any, where: str) -> _Reader:
    """A function that takes what SHAPE describes out of a value, so that the shape is gone through but once."""
    if isinstance(shape, list):
        return _reader_of_list(shape[0], where)
    return _reader_of_texts(where) if "*" in shape else _reader_of_mapping(shape, where)


def _reader_of_list(shape: Any, where: str) -> _Reader:
    type_ = shape if isinstance(shape, type) else dict
    read_item = None if isinstance(shape, type) else _reader_of(shape, where)

    def read(value: Any) -> Any:
        if not isinstance(value, list) or not all(isinstance(item, type_) for item in value):
            raise TypeError(f"{where} is no list of {type_.__name__}")
        return [read_item(item) for item in value] if read_item else value

    return read


def _reader_of_texts(where: str) -> _Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
            raise TypeError(f"{where} is no mapping of texts")
        return value

    return read


def _reader_of_mapping(shape: Mapping[str, Any], where: str) -> _Reader:
    plain = [(name, below) for name, below in shape.items() if isinstance(below, type)]
    nested = [(n, _reader_of(below, f"{where}.{n}")) for n, below in shape.items() if not isinstance(below, type)]

    def read(value: Any) -> Any:
        if not isinstance(value, dict):
            raise TypeError(f"{where} is no mapping")
        found: dict[str, Any] = {}
        get = value.get
        for name, type_ in plain:
            if (below := get(name)) is not None:
                if not isinstance(below, type_):
                    raise TypeError(f"{where}.{name} is of type {type(below).__name__}")
                found[name] = below
        for name, reader in nested:
            if (below := get(name)) is not None:
                found[name] = reader(below)
        return found

    return read


_read = _reader_of(_OBJECT, "object")
_READ_OF = {kind: _reader_of({part: _OBJECT[part] for part in parts}, kind) for kind, parts in _PARTS.items()}
