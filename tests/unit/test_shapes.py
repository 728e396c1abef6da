"""Whatever answers in place of kubectl, nothing but objects comes in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfgpods.naming import Owner, names_of
from lfgpods.observe import group_by_namespace, pod_of, snapshot_of
from lfgpods.settings import load_settings
from lfgpods.shapes import checked
from lfgpods.state import diagnose

OWNER = Owner.project("a")
BASE = load_settings({}).defaults

_FIELDS = [
    "metadata", "name", "labels", "annotations", "spec", "status", "ports", "port", "nodePort", "claimRef",
    "hostPath", "path", "capacity", "template", "containers", "resources", "limits", "conditions", "type",
    "containerStatuses", "state", "waiting", "terminated", "reason", "message", "replicas", "deletionTimestamp",
]  # fmt: skip
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.floats(allow_nan=False),
    lambda below: st.lists(below, max_size=2) | st.dictionaries(st.sampled_from(_FIELDS), below, max_size=4),
    max_leaves=12,
)
_KINDS = st.sampled_from(["Namespace", "PersistentVolume", "PersistentVolumeClaim", "Deployment", "Service", "Pod"])


@given(st.builds(lambda kind, rest: {**rest, "kind": kind, "metadata": {"name": "x", **(rest.get("metadata") or {})}},
                 _KINDS, st.fixed_dictionaries({}, optional={"metadata": st.dictionaries(st.sampled_from(_FIELDS), _VALUES),
                                                             "spec": _VALUES, "status": _VALUES})))  # fmt: skip
@settings(max_examples=100)
def test_what_passes_is_understood_by_everything_that_reads_it(obj: dict[str, Any]) -> None:
    try:
        found = checked(obj)
    except (TypeError, KeyError):
        return
    group_by_namespace([found])
    pod_of(OWNER, names_of(OWNER), snapshot_of([found]), "host", BASE, "/mnt/volumes")
    if found["kind"] == "Pod":
        diagnose(found)


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
