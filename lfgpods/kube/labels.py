"""The labels and annotations on lfgpods' objects: labels to find them, annotations to rebuild the store from."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from lfgpods.core.owners import Names, Owner, OwnerKind
from lfgpods.core.spec import PodSpec

if TYPE_CHECKING:
    from lfgpods.kube.objects import KubeObject

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "lfgpods"
INSTANCE = "lfgpods.io/instance"
"""Which of several installations on one cluster made an object; absent if LFGPODS_INSTANCE is not set."""
OWNER_KIND = "lfgpods.io/owner-kind"
OWNER = "lfgpods.io/owner"
OWNER_ID = "lfgpods.io/owner-id"
CONVERSATION_ID = "lfgpods.io/conversation-id"
SPEC = "lfgpods.io/spec"
REVISION = "lfgpods.io/revision"
RESYNCED_AT = "lfgpods.io/nudged"
PURGING = "lfgpods.io/purging"
DELETED_AT = "lfgpods.io/deleted-at"
PROVISIONED = "lfgpods.io/provisioned-volumes"
"""On the locks' namespace, once there has been a volume of a storage class. If an owner's namespace is missing then, it
may have left such a volume behind."""


def selector(instance: str | None = None) -> str:
    """The label selector for everything that INSTANCE made, and nothing that another instance made."""
    return f"{MANAGED_BY}={MANAGER},{INSTANCE}={instance}" if instance else f"{MANAGED_BY}={MANAGER},!{INSTANCE}"


def manager_labels(instance: str | None = None) -> dict[str, str]:
    """The labels of every object that INSTANCE makes."""
    return {MANAGED_BY: MANAGER, **({INSTANCE: instance} if instance else {})}


def labels_for(owner: Owner, names: Names, instance: str | None = None) -> dict[str, str]:
    """The labels of each of OWNER's objects."""
    return {**manager_labels(instance), OWNER_KIND: owner.kind.value, OWNER: names.slug}


def annotations_for(owner: Owner, conversation_id: str | None, spec: PodSpec) -> dict[str, str]:
    """The annotations of the namespace, and of the volume in case the namespace is lost."""
    found = {OWNER_ID: owner.id, SPEC: json.dumps(spec.as_dict(), sort_keys=True)}
    if conversation_id and owner.kind is OwnerKind.PROJECT:
        found[CONVERSATION_ID] = conversation_id
    return found


def owner_record(owner: Owner, instance: str | None = None) -> str:
    """OWNER as one line of text, for places without labels; `owner_of_record` reads it."""
    return json.dumps({"kind": owner.kind.value, "id": owner.id, **({"instance": instance} if instance else {})})


def owner_of_record(text: str, instance: str | None = None) -> Owner | None:
    """The owner in a line that `owner_record` wrote for INSTANCE, or None for any other text."""
    try:
        record = json.loads(text)
        if record.get("instance") != instance:
            return None
        return Owner(OwnerKind(record["kind"]), str(record["id"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def label(obj: KubeObject, key: str) -> str:
    """OBJ's label KEY, empty if it has none."""
    return obj.metadata.labels.get(key, "")


def annotation(obj: KubeObject | None, key: str) -> str | None:
    """OBJ's annotation KEY, or None if there is none or no object."""
    return None if obj is None else obj.metadata.annotations.get(key)


def instance_of(obj: KubeObject) -> str | None:
    """The instance that made OBJ, or None if it has no name."""
    return label(obj, INSTANCE) or None


def is_managed(obj: KubeObject | None) -> bool:
    """Whether OBJ exists and carries lfgpods' label."""
    return obj is not None and label(obj, MANAGED_BY) == MANAGER


def read_owner(obj: KubeObject) -> Owner | None:
    """The owner that a namespace or volume names, or None if it names none.

    A volume of an earlier version has no owner id. Its labels name the owner, if they give the volume's own name.
    """
    kind = label(obj, OWNER_KIND)
    if not is_managed(obj) or kind not in list(OwnerKind):
        return None
    if id := annotation(obj, OWNER_ID):
        return Owner(OwnerKind(kind), id)
    named = Owner(OwnerKind(kind), label(obj, OWNER))
    is_its_volume = obj.kind == "PersistentVolume" and obj.metadata.name == named.names.volume
    return named if is_its_volume else None


def read_spec(obj: KubeObject) -> PodSpec | None:
    """The pod's spec when a namespace or volume was applied, or None if it cannot be read."""
    try:
        return PodSpec.from_dict(json.loads(obj.metadata.annotations[SPEC]))
    except (KeyError, TypeError, ValueError):
        return None
