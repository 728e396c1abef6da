"""Prints objects as kubectl does: JSON, names, tables and jsonpath. No I/O."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from lfgpods.core.objects import Object
from lfgpods.hosts.embedded.cluster.errors import KubectlError
from lfgpods.hosts.embedded.cluster.kinds import CLAIM, DEPLOYMENT, POD, SERVICE, VOLUME, Kind
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
    if not output:
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


def tables(records: Sequence[Record], now: float, *, several_kinds: bool) -> str:
    """A table for each kind. Kinds without columns of their own have NAME and AGE only."""
    shown = []
    for kind in dict.fromkeys(record.kind for record in records):
        headings, cells = _COLUMNS.get(kind, ((), _no_cells))
        rows = [["NAME", *headings, "AGE"]]
        for record in records:
            if record.kind is kind:
                name = record.reference if several_kinds else record.name
                rows.append([name, *cells(record.obj), _age(record, now)])
        shown.append(_aligned(rows))
    return "\n".join(shown)


def _no_cells(obj: Object) -> list[str]:
    return []


def _pod_cells(obj: Object) -> list[str]:
    statuses = obj["status"].get("containerStatuses") or []
    ready = sum(bool(container["ready"]) for container in statuses)
    restarts = sum(container["restartCount"] for container in statuses)
    return [f"{ready}/{len(obj['spec']['containers'])}", _pod_status(obj), str(restarts)]


def _deployment_cells(obj: Object) -> list[str]:
    status = obj["status"]
    numbers = [str(status.get(name, 0)) for name in ("updatedReplicas", "availableReplicas")]
    return [f"{status.get('readyReplicas', 0)}/{obj['spec']['replicas']}", *numbers]


def _service_cells(obj: Object) -> list[str]:
    spec = obj["spec"]
    ports = [
        f"{port['port']}:{port['nodePort']}/{port['protocol']}" if "nodePort" in port else f"{port['port']}/TCP"
        for port in spec.get("ports") or []
    ]
    return [spec["type"], spec["clusterIP"], "<none>", ",".join(ports)]


def _volume_cells(obj: Object) -> list[str]:
    spec = obj["spec"]
    reference = spec.get("claimRef") or {}
    claim = f"{reference['namespace']}/{reference['name']}" if reference else ""
    modes, policy = _modes(spec), spec["persistentVolumeReclaimPolicy"]
    storage_class = spec.get("storageClassName", "")
    return [spec["capacity"]["storage"], modes, policy, _phase(obj), claim, storage_class, "<unset>", ""]


def _claim_cells(obj: Object) -> list[str]:
    spec, status = obj["spec"], obj["status"]
    storage = (status.get("capacity") or {}).get("storage", "")
    name, storage_class = spec.get("volumeName", ""), spec.get("storageClassName", "")
    return [_phase(obj), name, storage, _modes(status), storage_class, "<unset>"]


_COLUMNS: dict[Kind, tuple[tuple[str, ...], Callable[[Object], list[str]]]] = {
    POD: (("READY", "STATUS", "RESTARTS"), _pod_cells),
    DEPLOYMENT: (("READY", "UP-TO-DATE", "AVAILABLE"), _deployment_cells),
    SERVICE: (("TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)"), _service_cells),
    VOLUME: (
        (
            "CAPACITY",
            "ACCESS MODES",
            "RECLAIM POLICY",
            "STATUS",
            "CLAIM",
            "STORAGECLASS",
            "VOLUMEATTRIBUTESCLASS",
            "REASON",
        ),
        _volume_cells,
    ),
    CLAIM: (("STATUS", "VOLUME", "CAPACITY", "ACCESS MODES", "STORAGECLASS", "VOLUMEATTRIBUTESCLASS"), _claim_cells),
}
_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(part: Object) -> str:
    return ",".join(_MODES.get(mode, mode) for mode in part.get("accessModes") or [])


def _phase(obj: Object) -> str:
    return "Terminating" if obj["metadata"].get("deletionTimestamp") else str(obj["status"]["phase"])


def _pod_status(obj: Object) -> str:
    if obj["metadata"].get("deletionTimestamp"):
        return "Terminating"
    for container in obj["status"].get("containerStatuses") or []:
        for state in ("waiting", "terminated"):
            if reason := (container["state"].get(state) or {}).get("reason"):
                return str(reason)
    return str(obj["status"]["phase"])


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
