"""What lfgpods writes on its objects to know them again: labels to find them, annotations to rebuild the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lfgpods.naming import Names, Owner, OwnerKind
from lfgpods.spec import PodSpec, Resources

Object = dict[str, Any]
"""A Kubernetes object as kubectl's JSON gives it."""

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "lfgpods"
SELECTOR = f"{MANAGED_BY}={MANAGER}"
OWNER_KIND = "lfgpods.io/owner-kind"
OWNER = "lfgpods.io/owner"
OWNER_ID = "lfgpods.io/owner-id"
CONVERSATION_ID = "lfgpods.io/conversation-id"
SPEC = "lfgpods.io/spec"
REVISION = "lfgpods.io/revision"
NUDGED = "lfgpods.io/nudged"
PURGING = "lfgpods.io/purging"


def labels_for(owner: Owner, names: Names) -> dict[str, str]:
    return {MANAGED_BY: MANAGER, OWNER_KIND: owner.kind.value, OWNER: names.slug}


def annotations_for(owner: Owner, conversation_id: str | None, spec: PodSpec) -> dict[str, str]:
    """The annotations of the namespace."""
    found = {OWNER_ID: owner.id, SPEC: json.dumps(asdict(spec), sort_keys=True)}
    if conversation_id and owner.kind is OwnerKind.PROJECT:
        found[CONVERSATION_ID] = conversation_id
    return found


def metadata(obj: Object | None, key: str) -> Mapping[str, str]:
    """The labels or annotations (KEY) of an object, empty where it has none."""
    return ((obj or {}).get("metadata") or {}).get(key) or {}


def is_managed(obj: Object) -> bool:
    return metadata(obj, "labels").get(MANAGED_BY) == MANAGER


def read_owner(namespace: Object) -> Owner | None:
    """The owner that a namespace says it belongs to, or None where it says nothing."""
    id = metadata(namespace, "annotations").get(OWNER_ID)
    kind = metadata(namespace, "labels").get(OWNER_KIND)
    if not is_managed(namespace) or not id or kind not in list(OwnerKind):
        return None
    return Owner(OwnerKind(kind), id)


def read_spec(namespace: Object) -> PodSpec | None:
    """What the owner's pod was last asked to be, or None where that is not recorded or not readable."""
    try:
        recorded = json.loads(metadata(namespace, "annotations")[SPEC])
        return PodSpec(
            image=recorded["image"],
            resources=Resources(**recorded["resources"]),
            storage_size=recorded["storage_size"],
            ports=tuple(recorded["ports"]),
        )
    except (KeyError, TypeError, ValueError):
        return None
