"""Whatever answers in place of kubectl, nothing but objects comes in."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfgpods.core.owners import Owner, names_of
from lfgpods.core.settings import load_settings
from lfgpods.fleet.orphans import Inventory, find_orphans
from lfgpods.kube.diagnosis import diagnose
from lfgpods.kube.lists import _RESOURCES, PagedList
from lfgpods.kube.schema import checked
from lfgpods.pods.objects import group_by_namespace, owner_objects
from lfgpods.pods.status import pod_of

OWNER = Owner.project("a")
BASE = load_settings({}).defaults

_FIELDS = [
    "metadata", "name", "labels", "annotations", "spec", "status", "ports", "port", "nodePort", "claimRef",
    "hostPath", "path", "capacity", "template", "containers", "resources", "limits", "conditions", "type",
    "containerStatuses", "state", "waiting", "terminated", "reason", "message", "replicas", "deletionTimestamp",
    "securityContext", "capabilities", "drop", "runAsNonRoot", "allowPrivilegeEscalation", "readyReplicas",
]  # fmt: skip
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.sampled_from(_FIELDS), below, max_size=4),
    max_leaves=12,
)
_KINDS = st.sampled_from(["Namespace", "PersistentVolume", "PersistentVolumeClaim", "Deployment", "Service", "Pod"])


OBJECTS = st.builds(lambda kind, rest: {**rest, "kind": kind, "metadata": {"name": "x", **(rest.get("metadata") or {})}},
                    _KINDS, st.fixed_dictionaries({}, optional={"metadata": st.dictionaries(st.sampled_from(_FIELDS), _VALUES),
                                                                "spec": _VALUES, "status": _VALUES}))  # fmt: skip


def understood(obj: dict[str, Any]) -> object:
    """All that is made of one object."""
    pod = pod_of(OWNER, names_of(OWNER), owner_objects([obj]), "host", BASE, "/mnt/volumes")
    around = Inventory([obj], [], [], "/mnt/volumes", 0.0)
    groups = list(group_by_namespace([obj]))
    return pod, groups, find_orphans(around), diagnose(obj) if obj["kind"] == "Pod" else None


def has_a_boolean(value: object) -> bool:
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, bool) or any(map(has_a_boolean, below))


@given(OBJECTS)
@settings(max_examples=100)
def test_what_passes_is_understood_by_everything_that_reads_it(obj: dict[str, Any]) -> None:
    try:
        found = checked(obj)
    except (TypeError, KeyError):
        return
    understood(found)


@given(OBJECTS)
@settings(max_examples=300)
def test_in_a_list_the_same_passes_and_means_the_same(obj: dict[str, Any]) -> None:
    one_of_many = PagedList(["pods", "services"], "a=b")
    one_of_many.feed(json.dumps({"kind": "List", "metadata": {}, "items": [obj]}).encode())
    try:
        whole = checked(obj)
    except (TypeError, KeyError):
        with pytest.raises(ValueError):  # noqa: PT011 - it begins with what has come
            one_of_many.end_page()
        return
    if has_a_boolean(obj):
        return  # JSON tells them from numbers, Python does not
    one_of_many.end_page()
    assert understood(one_of_many.objects[0]) == understood(whole)


@given(OBJECTS)
@settings(max_examples=300)
def test_what_is_not_read_of_a_kind_is_not_missed(obj: dict[str, Any]) -> None:
    resource = {kind: resource for resource, (_, kind) in _RESOURCES.items()}[obj["kind"]]
    one_of_many = PagedList([resource], "a=b")
    one_of_many.feed(json.dumps({"kind": f"{obj['kind']}List", "metadata": {}, "items": [obj]}).encode())
    try:
        whole = checked(obj)
        one_of_many.end_page()
    except (TypeError, KeyError, ValueError):
        return
    assert understood(one_of_many.objects[0]) == understood(whole)


@pytest.mark.parametrize(
    "obj",
    [
        None, [], "x", {"kind": "Pod"}, {"kind": "Pod", "metadata": {}}, {"kind": 3, "metadata": {"name": "x"}},
        {"kind": "Pod", "metadata": {"name": "x", "labels": {"a": 3}}, "spec": {}},
        {"kind": "Deployment", "metadata": {"name": "x"}, "spec": {}},
        {"kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": [{}]}},
        {"kind": "Pod", "metadata": {"name": "x"}, "spec": {}, "status": {"conditions": ["Ready"]}},
    ],
)  # fmt: skip
def test_what_is_no_object_is_refused(obj: Any) -> None:
    with pytest.raises((TypeError, KeyError)):
        checked(obj)
