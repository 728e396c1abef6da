"""Server-side apply: a field that its manager no longer applies is removed; the fields of others stay."""

from __future__ import annotations

from typing import Any

import pytest

from lfgpods.hosts.embedded.cluster.field_ownership import ApplyConflictError, apply, disown, patch

Managers = dict[str, list[list[str]]]


def test_a_field_that_is_no_longer_applied_is_removed_and_others_stay() -> None:
    managers: Managers = {}
    live = apply({}, {"metadata": {"labels": {"a": "1", "b": "2"}}}, "one", managers, force=True)
    live["metadata"]["labels"]["theirs"] = "x"
    live["spec"] = {"defaulted": True}
    live = apply(live, {"metadata": {"labels": {"a": "1"}}}, "one", managers, force=True)
    assert live == {"metadata": {"labels": {"a": "1", "theirs": "x"}}, "spec": {"defaulted": True}}


def test_a_field_that_another_manager_also_applied_stays() -> None:
    managers: Managers = {}
    config = {"metadata": {"labels": {"a": "1"}}}
    live = apply({}, config, "one", managers, force=True)
    live = apply(live, config, "two", managers, force=True)
    live = apply(live, {"metadata": {}}, "one", managers, force=True)
    assert live["metadata"]["labels"] == {"a": "1"}


def test_without_force_the_value_of_another_manager_is_a_conflict() -> None:
    managers: Managers = {}
    live = apply({}, {"spec": {"replicas": 1}}, "one", managers, force=True)
    with pytest.raises(ApplyConflictError) as conflict:
        apply(live, {"spec": {"replicas": 2}}, "two", managers, force=False)
    assert conflict.value.fields == {"one": [".spec.replicas"]}
    assert apply(live, {"spec": {"replicas": 2}}, "two", managers, force=True) == {"spec": {"replicas": 2}}
    assert managers.keys() == {"two"}


@pytest.mark.parametrize(
    ("path", "keys"),
    [("containers", ("name",)), ("volumes", ("name",)), ("volumeMounts", ("mountPath",)), ("env", ("name",))],
)
def test_list_items_are_identified_by_their_keys(path: str, keys: tuple[str, ...]) -> None:
    managers: Managers = {}

    def config(*names: str) -> dict[str, Any]:
        return {"spec": {path: [{keys[0]: name, "value": name} for name in names]}}

    live = apply({}, config("a", "b"), "one", managers, force=True)
    live["spec"][path][0]["defaulted"] = True
    live["spec"][path].append({keys[0]: "theirs"})
    live = apply(live, config("a", "c"), "one", managers, force=True)
    assert live["spec"][path] == [
        {keys[0]: "a", "value": "a", "defaulted": True},
        {keys[0]: "theirs"},
        {keys[0]: "c", "value": "c"},
    ]


def test_a_service_port_keeps_its_node_port_and_a_dropped_port_is_removed() -> None:
    managers: Managers = {}

    def ports(*numbers: int) -> dict[str, Any]:
        return {"spec": {"ports": [{"name": f"p{n}", "port": n, "protocol": "TCP"} for n in numbers]}}

    live = apply({}, ports(80, 90), "one", managers, force=True)
    for port in live["spec"]["ports"]:
        port["nodePort"] = 30000 + port["port"]
    live = apply(live, ports(80), "one", managers, force=True)
    assert live["spec"]["ports"] == [{"name": "p80", "port": 80, "protocol": "TCP", "nodePort": 30080}]


def test_null_removes_a_field_of_any_manager() -> None:
    live = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    config = {"spec": {"strategy": {"type": "Recreate", "rollingUpdate": None}}}
    assert apply(live, config, "one", {}, force=True) == {"spec": {"strategy": {"type": "Recreate"}}}


def test_a_merge_patch_sets_and_removes_fields_and_their_managers_lose_them() -> None:
    managers: Managers = {}
    live = apply({}, {"spec": {"replicas": 1, "paused": True}}, "one", managers, force=True)
    after = patch(live, {"spec": {"replicas": 0, "paused": None}})
    assert after == {"spec": {"replicas": 0}}
    disown(live, after, managers)
    assert apply(after, {"spec": {}}, "one", managers, force=True) == {"spec": {"replicas": 0}}
