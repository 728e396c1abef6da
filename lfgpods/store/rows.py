"""Pods and changes, to and from rows of the database."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from lfgpods.core import processes
from lfgpods.core.changes import Action, Change, Outcome
from lfgpods.core.owners import Owner, OwnerKind
from lfgpods.core.pod import Pod, ServicePort, State
from lfgpods.core.spec import PodSpec

ASSUMED_RUNNING = 3600
"""How long a change without an outcome counts as running if its process cannot be seen from here, in seconds."""


def row_of(pod: Pod, host: str, moment: str) -> dict[str, Any]:
    """The row of POD on HOST, updated at MOMENT."""
    service = {"name": pod.service_name, "ip": pod.cluster_ip, "ports": [asdict(port) for port in pod.ports]}
    return {
        "host": host,
        "owner_kind": pod.owner.kind.value,
        "owner_id": pod.owner.id,
        "namespace": pod.namespace,
        "conversation_id": pod.conversation_id,
        "pod_name": pod.pod_name,
        "status": pod.status.value,
        "reason": pod.reason,
        "spec": json.dumps(pod.spec.as_dict()),
        "volume": pod.volume,
        "service": json.dumps(service),
        "created_at": pod.created_at,
        "started_at": pod.started_at,
        "last_used_at": pod.last_used_at,
        "updated_at": moment,
    }


def pod_of(row: dict[str, Any]) -> Pod:
    service, spec = json.loads(row["service"]), json.loads(row["spec"])
    return Pod(
        owner=Owner(OwnerKind(row["owner_kind"]), row["owner_id"]),
        namespace=row["namespace"],
        conversation_id=row["conversation_id"],
        pod_name=row["pod_name"],
        status=State(row["status"]),
        reason=row["reason"],
        spec=PodSpec.from_dict(spec),
        volume=row["volume"],
        service_name=service["name"],
        cluster_ip=service["ip"],
        ports=tuple(ServicePort(**port) for port in service["ports"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        last_used_at=row["last_used_at"],
    )


def change_of(row: dict[str, Any]) -> Change:
    kind, id = row["owner_kind"], row["owner_id"]
    return Change(
        id=row["id"],
        owner=Owner(OwnerKind(kind), id) if kind else None,
        action=Action(row["action"]),
        who=row["who"],
        origin=row["origin"],
        detail=row["detail"],
        started_at=row["started_at"],
        duration=row["duration"],
        outcome=Outcome(row["outcome"]) if row["outcome"] else _without_outcome(row),
        error=row["error"],
    )


def _without_outcome(row: dict[str, Any]) -> Outcome:
    alive = processes.is_alive(row["process"])
    if alive is None:
        age = datetime.now(UTC) - datetime.fromisoformat(row["started_at"])
        alive = age.total_seconds() < ASSUMED_RUNNING
    return Outcome.RUNNING if alive else Outcome.INTERRUPTED
