"""Prints objects as kubectl does: JSON, names, tables and jsonpath. No I/O."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from lfgpods.core.objects import Object
from lfgpods.hosts.embedded.cluster.errors import KubectlError
from lfgpods.hosts.embedded.cluster.kinds import Kind
from lfgpods.hosts.embedded.cluster.objects import Record, seconds_of
from lfgpods.hosts.embedded.kubectl import jsonpath

_ESCAPES = str.maketrans({"&": "\\u0026", "<": "\\u003c", ">": "\\u003e", "\u2028": "\\u2028", "\u2029": "\\u2029"})


def to_json(value: Any, indent: int | None = 4) -> str:
    """VALUE as kubectl prints it."""
    separators = (",", ":") if indent is None else (",", ": ")
    text = json.dumps(value, indent=indent, sort_keys=True, ensure_ascii=False, separators=separators)
    return text.translate(_ESCAPES) + "\n"


def list_of(items: Sequence[Object]) -> Object:
    return {"apiVersion": "v1", "items": list(items), "kind": "List", "metadata": {"resourceVersion": ""}}


def show(records: Sequence[Record], output: str, now: float, *, single: bool, several_kinds: bool) -> str:
    """Print RECORDS in a format; a SINGLE object is not a list. Raises KubectlError for an unknown format."""
    if output == "json":
        objects = [record.obj for record in records]
        return to_json(objects[0] if single else list_of(objects))
    if output == "name":
        return "".join(f"{record.reference}\n" for record in records)
    if output in ("", "wide"):
        return tables(records, now, several_kinds=several_kinds)
    template = output.removeprefix("jsonpath=")
    if template != output and not single and (draw := jsonpath.compiled(template, _shown)):
        return draw([record.obj for record in records])
    raise KubectlError(
        f"error: the embedded host has no output format {output!r}; it has json, name, a table, and "
        "jsonpath={.items[*].some.field}, {.items[*].some.list[*]} or {range .items[*]}...{end} of a list"
    )


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else to_json(value, None).rstrip()


def tables(records: Sequence[Record], now: float, *, several_kinds: bool, namespaced: bool = False) -> str:
    """A table for each kind."""
    shown = []
    for kind in dict.fromkeys(record.kind for record in records):
        rows = [_headings(kind)]
        for record in records:
            if record.kind is kind:
                name = record.reference if several_kinds else record.name
                rows.append([name, *_columns(record.obj, kind, now), _age(record, now)])
        if kind.name == "Event":
            rows = [_event_row(record, now) for record in records]
            rows.insert(0, ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"])
        shown.append(_aligned(rows))
    return "\n".join(shown)


def _headings(kind: Kind) -> list[str]:
    return ["NAME", *_COLUMNS.get(kind.name, ()), "AGE"]


_COLUMNS = {
    "Namespace": ("STATUS",),
    "Node": ("STATUS", "ROLES"),
    "Pod": ("READY", "STATUS", "RESTARTS"),
    "Deployment": ("READY", "UP-TO-DATE", "AVAILABLE"),
    "Lease": ("HOLDER",),
    "NetworkPolicy": ("POD-SELECTOR",),
    "Service": ("TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)"),
    "PersistentVolume": ("CAPACITY", "ACCESS MODES", "RECLAIM POLICY", "STATUS", "CLAIM", "STORAGECLASS", "REASON"),
    "PersistentVolumeClaim": ("STATUS", "VOLUME", "CAPACITY", "ACCESS MODES", "STORAGECLASS"),
}
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _columns(obj: Object, kind: Kind, now: float) -> list[str]:
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    if kind.name == "Pod":
        statuses = status.get("containerStatuses") or []
        ready = sum(bool(container["ready"]) for container in statuses)
        restarts = sum(container["restartCount"] for container in statuses)
        return [f"{ready}/{len(spec['containers'])}", _pod_status(obj), str(restarts)]
    if kind.name == "Deployment":
        numbers = [str(status.get(name, 0)) for name in ("updatedReplicas", "availableReplicas")]
        return [f"{status.get('readyReplicas', 0)}/{spec['replicas']}", *numbers]
    if kind.name == "Service":
        ports = [
            f"{port['port']}:{port['nodePort']}/{port['protocol']}" if "nodePort" in port else f"{port['port']}/TCP"
            for port in spec.get("ports") or []
        ]
        return [spec["type"], spec["clusterIP"], "<none>", ",".join(ports)]
    if kind.name == "PersistentVolume":
        reference = spec.get("claimRef") or {}
        claim = f"{reference['namespace']}/{reference['name']}" if reference else ""
        modes, policy = _modes(spec), spec["persistentVolumeReclaimPolicy"]
        phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status["phase"]
        return [spec["capacity"]["storage"], modes, policy, phase, claim, spec.get("storageClassName", ""), ""]
    if kind.name == "PersistentVolumeClaim":
        storage = (status.get("capacity") or {}).get("storage", "")
        phase = "Terminating" if obj["metadata"].get("deletionTimestamp") else status["phase"]
        return [phase, spec.get("volumeName", ""), storage, _modes(status), spec.get("storageClassName", "")]
    if kind.name == "Lease":
        return [spec.get("holderIdentity", "")]
    if kind.name == "NetworkPolicy":
        labels = (spec.get("podSelector") or {}).get("matchLabels") or {}
        return [",".join(f"{key}={value}" for key, value in labels.items()) or "<none>"]
    if kind.name == "Node":
        return ["Ready", "<none>"]
    return [status.get("phase", "")] if kind.name == "Namespace" else []


def _modes(part: Object) -> str:
    return ",".join(_MODES.get(mode, mode) for mode in part.get("accessModes") or [])


def _pod_status(obj: Object) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for container in obj["status"].get("containerStatuses") or []:
        for state in ("waiting", "terminated"):
            if reason := (container["state"].get(state) or {}).get("reason"):
                return str(reason)
    return str(obj["status"]["phase"])


def _event_row(record: Record, now: float) -> list[str]:
    event = record.obj
    about = f"{event['involvedObject']['kind'].lower()}/{event['involvedObject']['name']}"
    seen = duration(now - seconds_of(event["lastTimestamp"]))
    return [seen, event["type"], event["reason"], about, event["message"]]


def _age(record: Record, now: float) -> str:
    return duration(now - seconds_of(record.obj["metadata"]["creationTimestamp"]))


def duration(seconds: float) -> str:
    """SECONDS as in kubectl's AGE column."""
    total = max(0, int(seconds))
    if total < 120:
        return f"{total}s"
    minutes, left = divmod(total, 60)
    if minutes < 10:
        return f"{minutes}m{left}s" if left else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    return f"{hours}h" if hours < 48 else f"{hours // 24}d"


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "".join(f"{line}\n" for line in lines)
