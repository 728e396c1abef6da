"""What lfgpods writes on its objects to know them again: labels to find them, annotations to rebuild the store."""

from __future__ import annotations

import json

from lfgpods.core.objects import Object, metadata
from lfgpods.core.owners import Names, Owner, OwnerKind, names_of
from lfgpods.core.spec import PodSpec

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "lfgpods"
INSTANCE = "lfgpods.io/instance"
"""Which of several installations on one cluster made an object; absent where LFGPODS_INSTANCE is not set."""
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
"""On the namespace of the locks, from the first volume of a storage class on: a namespace that is missing may then
have left one behind, which is to be looked for."""


def selector(instance: str | None = None) -> str:
    """The label selector for everything that INSTANCE made, and nothing that another instance made."""
    return f"{MANAGED_BY}={MANAGER},{INSTANCE}={instance}" if instance else f"{MANAGED_BY}={MANAGER},!{INSTANCE}"


def manager_labels(instance: str | None = None) -> dict[str, str]:
    """The labels of every object that INSTANCE makes."""
    return {MANAGED_BY: MANAGER, **({INSTANCE: instance} if instance else {})}


def labels_for(owner: Owner, names: Names, instance: str | None = None) -> dict[str, str]:
    return {**manager_labels(instance), OWNER_KIND: owner.kind.value, OWNER: names.slug}


def annotations_for(owner: Owner, conversation_id: str | None, spec: PodSpec) -> dict[str, str]:
    """The annotations of the namespace and of the volume, which tells them too when the namespace is lost."""
    found = {OWNER_ID: owner.id, SPEC: json.dumps(spec.as_dict(), sort_keys=True)}
    if conversation_id and owner.kind is OwnerKind.PROJECT:
        found[CONVERSATION_ID] = conversation_id
    return found


def owner_record(owner: Owner, instance: str | None = None) -> str:
    """OWNER as one line of text, for where there are no labels; `owner_of_record` reads it."""
    return json.dumps({"kind": owner.kind.value, "id": owner.id, **({"instance": instance} if instance else {})})


def owner_of_record(text: str, instance: str | None = None) -> Owner | None:
    """The owner that a line of `owner_record` names, or None if it names none, or one of another instance."""
    try:
        record = json.loads(text)
        if record.get("instance") != instance:
            return None
        return Owner(OwnerKind(record["kind"]), str(record["id"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def instance_of(obj: Object) -> str | None:
    """The instance that made OBJ, or None if it has no name."""
    return metadata(obj, "labels").get(INSTANCE)


def is_managed(obj: Object) -> bool:
    return metadata(obj, "labels").get(MANAGED_BY) == MANAGER


def read_owner(obj: Object) -> Owner | None:
    """The owner that a namespace or volume says it belongs to, or None where it says nothing.

    A volume without the id, as earlier versions made them, says it by its labels, if they give its name again.
    """
    labels = metadata(obj, "labels")
    kind = labels.get(OWNER_KIND)
    if not is_managed(obj) or kind not in list(OwnerKind):
        return None
    if id := metadata(obj, "annotations").get(OWNER_ID):
        return Owner(OwnerKind(kind), id)
    named = Owner(OwnerKind(kind), labels.get(OWNER, ""))
    is_its_volume = obj.get("kind") == "PersistentVolume" and obj["metadata"]["name"] == names_of(named).volume
    return named if is_its_volume else None


def read_spec(obj: Object) -> PodSpec | None:
    """What the pod was asked to be when a namespace or volume was applied, or None where that cannot be read."""
    try:
        return PodSpec.from_dict(json.loads(metadata(obj, "annotations")[SPEC]))
    except (KeyError, TypeError, ValueError):
        return None
