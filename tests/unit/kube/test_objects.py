"""Only well-formed objects are accepted from kubectl, whatever its output."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfgpods.core.owners import Owner
from lfgpods.core.settings import load_settings
from lfgpods.fleet.orphans import Inventory, find_orphans
from lfgpods.kube.diagnosis import diagnose
from lfgpods.kube.lists import RESOURCES, PagedList
from lfgpods.kube.objects import KubeObject, Pod, Service, read_object
from lfgpods.pods.objects import group_by_namespace, owner_objects
from lfgpods.pods.status import pod_of
from tests.kube_objects import read_as

OWNER = Owner.project("a")
BASE = load_settings({}).defaults

_FIELDS = [
    "metadata", "name", "labels", "annotations", "spec", "status", "ports", "port", "nodePort", "claimRef",
    "hostPath", "path", "capacity", "template", "containers", "resources", "limits", "conditions", "type",
    "containerStatuses", "state", "waiting", "terminated", "reason", "message", "replicas", "deletionTimestamp",
    "securityContext", "capabilities", "drop", "runAsNonRoot", "allowPrivilegeEscalation", "readyReplicas",
    "nodeAffinity", "required", "nodeSelectorTerms", "matchExpressions", "values", "initContainerStatuses", "lastState",
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


def understood(obj: KubeObject) -> object:
    """Everything that is made of one object."""
    pod = pod_of(OWNER, OWNER.names, owner_objects([obj]), "host", BASE, "/mnt/volumes")
    assert obj.kind in {kind for _, kind in RESOURCES.values()}
    listed: Any = [obj]
    around = Inventory(listed, [], [], "/mnt/volumes", 0.0)
    diagnosis = diagnose(obj) if isinstance(obj, Pod) else None
    return pod, list(group_by_namespace(listed)), find_orphans(around), diagnosis


@given(OBJECTS)
@settings(max_examples=100)
def test_an_object_that_is_accepted_is_understood_by_all_its_readers(obj: dict[str, Any]) -> None:
    try:
        found = read_object(obj)
    except ValueError:
        return
    understood(found)


@given(OBJECTS)
@settings(max_examples=300)
def test_a_list_accepts_the_same_objects_with_the_same_meaning(obj: dict[str, Any]) -> None:
    one_of_many = PagedList(["pods", "services"], "a=b")
    one_of_many.feed(json.dumps({"kind": "List", "metadata": {}, "items": [obj]}).encode())
    try:
        alone = read_object(obj)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - it begins with kubectl's output
            one_of_many.end_page()
        return
    one_of_many.end_page()
    assert one_of_many.objects == [alone]
    assert understood(one_of_many.objects[0]) == understood(alone)


@given(OBJECTS)
@settings(max_examples=300)
def test_a_list_of_one_kind_accepts_the_same_objects_with_the_same_meaning(obj: dict[str, Any]) -> None:
    resource = {kind: resource for resource, (_, kind) in RESOURCES.items()}[obj["kind"]]
    one_of_many = PagedList([resource], "a=b")
    one_of_many.feed(json.dumps({"kind": f"{obj['kind']}List", "metadata": {}, "items": [obj]}).encode())
    try:
        alone = read_object(obj)
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011 - it begins with kubectl's output
            one_of_many.end_page()
        return
    one_of_many.end_page()
    assert one_of_many.objects == [alone]
    assert understood(one_of_many.objects[0]) == understood(alone)


@pytest.mark.parametrize(
    "obj",
    [
        None, [], "x", {}, {"kind": ["Pod"]}, {"kind": ""}, {"kind": "Pod"}, {"kind": "Pod", "metadata": {"name": ""}},
        {"kind": "Pod", "metadata": {}}, {"kind": 3, "metadata": {"name": "x"}},
        {"kind": "Pod", "metadata": {"name": "x", "labels": {"a": 3}}, "spec": {}},
        {"kind": "Deployment", "metadata": {"name": "x"}, "spec": {}},
        {"kind": "Deployment", "metadata": {"name": "x"}, "spec": {"template": None}},
        {"kind": "PersistentVolume", "metadata": {"name": "x"}}, {"kind": "PersistentVolume", "metadata": {"name": "x"}, "spec": None},
        {"kind": "Lease", "metadata": {"name": "x"}, "spec": {}}, {"kind": "NetworkPolicy", "metadata": {}},
        {"kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": [{}]}},
        {"kind": "Service", "metadata": {"name": "x"}, "spec": {"ports": [{"port": 0}]}},
        {"kind": "Pod", "metadata": {"name": "x"}, "spec": {}, "status": {"conditions": ["Ready"]}},
    ],
)  # fmt: skip
def test_anything_but_an_object_is_refused(obj: Any) -> None:
    with pytest.raises((TypeError, KeyError, ValueError)):
        read_object(obj)


@pytest.mark.parametrize("null", [True, False])
def test_a_null_field_is_a_missing_one(null: bool) -> None:
    def without(*names: str) -> dict[str, Any]:
        return dict.fromkeys(names) if null else {}

    metadata = {"name": "x", **without("namespace", "labels", "annotations", "deletionTimestamp")}
    status = {"containerStatuses": [without("state", "lastState", "restartCount")], **without("phase", "conditions")}
    pod = read_as(Pod, {"metadata": metadata, "status": status, **without("spec")})
    assert (pod.metadata.namespace, pod.metadata.labels, pod.spec.node_name) == ("", {}, "")
    assert (pod.status.phase, pod.status.conditions, pod.status.init_container_statuses) == ("", (), ())
    assert pod.status.container_statuses[0].last_state.terminated is None
    service = read_as(Service, {"metadata": metadata, "spec": without("ports", "clusterIP")})
    assert (service.spec.ports, service.spec.cluster_ip) == ((), None)


def test_fields_that_nobody_reads_may_be_anything() -> None:
    pod = read_as(Pod, {"metadata": {"name": "x", "finalizers": 3}, "spec": {"containers": "none"}, "apiVersion": []})
    assert pod == read_as(Pod, {"metadata": {"name": "x"}})
    policy = read_object({"kind": "NetworkPolicy", "metadata": {"name": "x"}, "spec": 3, "status": "?"})
    assert (policy.kind, policy.metadata.name) == ("NetworkPolicy", "x")
