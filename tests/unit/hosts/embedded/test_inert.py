"""The kinds without a controller: Leases, NetworkPolicies, quotas and limits. And create, patch and jsonpath."""

from __future__ import annotations

import json

import pytest

from lfgpods.core.objects import Object
from lfgpods.hosts.base import Completed
from lfgpods.hosts.run import run
from lfgpods.testing import EmbeddedLfgpods
from tests.unit.hosts.embedded.test_cluster import get, kubectl

INERT: list[tuple[str, str, str, str, Object]] = [
    ("Lease", "coordination.k8s.io/v1", "leases", "lease.coordination.k8s.io", {"holderIdentity": "me"}),
    ("NetworkPolicy", "networking.k8s.io/v1", "netpol", "networkpolicy.networking.k8s.io", {"podSelector": {}}),
    ("ResourceQuota", "v1", "quota", "resourcequota", {"hard": {"pods": "2"}}),
    ("LimitRange", "v1", "limits", "limitrange", {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}),
]
LEASES = 'leases.coordination.k8s.io "x"'


def an_object(kind: str, version: str, spec: Object | None = None, *, namespace: str = "default") -> Object:
    metadata = {"name": "x", "namespace": namespace, "labels": {"app": "a"}}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": spec or {}}


def lease(**spec: object) -> Object:
    return an_object("Lease", "coordination.k8s.io/v1", spec)


def send(embedded: EmbeddedLfgpods, verb: str, *objects: Object, output: tuple[str, ...] = ()) -> Completed:
    payload = "\n".join(map(json.dumps, objects)).encode()
    return run(embedded.host, ("kubectl", verb, "-f", "-", *output), stdin=payload)


def patch(embedded: EmbeddedLfgpods, change: Object, *words: str) -> Completed:
    return kubectl(embedded, "patch", "lease/x", "--type=merge", "-p", json.dumps(change), *words)


@pytest.mark.parametrize(("kind", "version", "word", "reference", "spec"), INERT)
def test_they_can_be_created_read_and_deleted(
    embedded: EmbeddedLfgpods, kind: str, version: str, word: str, reference: str, spec: Object
) -> None:
    made = send(embedded, "apply", an_object(kind, version, spec))
    assert (made.stdout.decode(), made.stderr) == (f"{reference}/x created\n", b"")
    assert get(embedded, f"{word}/x")["spec"] == spec
    assert kubectl(embedded, "get", word).stdout.startswith(b"NAME")
    missing = kubectl(embedded, "delete", word, "-l", "app=b", "--ignore-not-found", "--wait=false")
    assert (missing.exit_code, missing.stdout) == (0, b"No resources found\n")
    gone = kubectl(embedded, "delete", word, "-n", "default", "-l", "app=a", "--ignore-not-found", "--wait=false")
    assert (gone.exit_code, gone.stdout.decode()) == (0, f'{reference} "x" deleted from default namespace\n')
    assert get(embedded, word)["items"] == []


def test_all_kinds_are_listed_together_and_deleted_with_their_namespace(embedded: EmbeddedLfgpods) -> None:
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a", "labels": {"app": "a"}}}
    objects = [an_object(kind, version, spec, namespace="a") for kind, version, _, _, spec in INERT]
    other = {**namespace, "metadata": {"name": "other"}}
    assert send(embedded, "create", namespace, other, *objects).exit_code == 0
    kinds = "namespaces,persistentvolumes,leases,networkpolicies,resourcequotas,limitranges"
    found = get(embedded, kinds, "-A", "-l", "app=a")["items"]
    assert [item["kind"] for item in found] == ["Namespace", *(kind for kind, *_ in INERT)]
    assert kubectl(embedded, "delete", "namespace/a", "--timeout=5s").exit_code == 0
    assert get(embedded, kinds, "-A", "-l", "app=a")["items"] == []


def test_create_prints_the_new_objects(embedded: EmbeddedLfgpods) -> None:
    policy = an_object("NetworkPolicy", "networking.k8s.io/v1")
    said = send(embedded, "create", lease(), policy, output=("-o", "name")).stdout
    assert said == b"lease.coordination.k8s.io/x\nnetworkpolicy.networking.k8s.io/x\n"
    kubectl(embedded, "delete", "leases,networkpolicies", "--all")
    made = json.loads(send(embedded, "create", lease(holderIdentity="me"), output=("-o", "json")).stdout)
    assert made == get(embedded, "lease/x")
    assert made["spec"] == {"holderIdentity": "me"}


def test_create_reads_yaml_and_continues_after_an_error(embedded: EmbeddedLfgpods) -> None:
    text = "---\n".join(
        f"apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {{name: {name}}}\n" for name in ("x", "x", "y")
    )
    done = kubectl(embedded, "create", "-f", "-", "-o", "json", stdin=text)
    assert done.exit_code == 1
    names = [json.loads(part)["metadata"]["name"] for part in done.stdout.decode().replace("}\n{", "}\0{").split("\0")]
    assert names == ["x", "y"]
    assert done.stderr.decode() == (
        f'Error from server (AlreadyExists): error when creating "STDIN": {LEASES} already exists\n'
    )


def test_create_refuses_an_existing_object_and_does_not_change_it(embedded: EmbeddedLfgpods) -> None:
    send(embedded, "create", lease(holderIdentity="first"))
    second = send(embedded, "create", lease(holderIdentity="second"), output=("-o", "json"))
    assert (second.exit_code, second.stdout) == (1, b"")
    assert b"(AlreadyExists)" in second.stderr
    assert get(embedded, "lease/x")["spec"] == {"holderIdentity": "first"}


def test_create_needs_the_namespace(embedded: EmbeddedLfgpods) -> None:
    nowhere = send(embedded, "create", an_object("Lease", "coordination.k8s.io/v1", namespace="x"))
    assert nowhere.exit_code == 1
    assert nowhere.stderr == (b'Error from server (NotFound): error when creating "STDIN": namespaces "x" not found\n')
    assert send(embedded, "create").stderr == b"error: no objects passed to create\n"
    assert kubectl(embedded, "create", stdin="{}").stderr == b"error: must specify one of -f and -k\n"


def test_a_patch_with_an_old_resource_version_is_a_conflict(embedded: EmbeddedLfgpods) -> None:
    made = json.loads(send(embedded, "create", lease(holderIdentity="a"), output=("-o", "json")).stdout)
    seen = {"resourceVersion": made["metadata"]["resourceVersion"]}
    first = json.loads(patch(embedded, {"metadata": seen, "spec": {"holderIdentity": "b"}}, "-o", "json").stdout)
    assert first == get(embedded, "lease/x")
    assert first["spec"] == {"holderIdentity": "b"}
    assert first["metadata"]["resourceVersion"] != seen["resourceVersion"]
    second = patch(embedded, {"metadata": seen, "spec": {"holderIdentity": "c"}}, "-o", "json")
    assert (second.exit_code, second.stdout) == (1, b"")
    assert second.stderr.decode() == (
        f"Error from server (Conflict): Operation cannot be fulfilled on {LEASES}: the object has been modified; "
        "please apply your changes to the latest version and try again\n"
    )
    assert get(embedded, "lease/x") == first
    any_version = patch(embedded, {"metadata": {"resourceVersion": None}})
    assert any_version.stdout == b"lease.coordination.k8s.io/x patched (no change)\n"
    assert send(embedded, "apply", {**lease(), "metadata": {"name": "x", **seen}}).stderr == second.stderr


def test_jsonpath_prints_the_fields_of_a_list(embedded: EmbeddedLfgpods) -> None:
    networks = ("kubectl", "get", "nodes", "-o", "jsonpath={.items[*].spec.podCIDRs[*]}")
    assert run(embedded.host, networks).stdout == b"10.244.0.0/24"
    names = ("kubectl", "get", "namespaces", "-o", "jsonpath={.items[*].metadata.name}")
    send(embedded, "create", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}})
    assert run(embedded.host, names).stdout == b"a default"
    assert run(embedded.host, (*names[:4], "jsonpath={.items[*].spec.nothing.there}")).stdout == b""


@pytest.mark.parametrize(
    "words",
    [
        ("nodes", "-o", "jsonpath={.items[0].spec}"),
        ("nodes", "-o", "jsonpath={.items[*]}"),
        ("nodes", "-o", "jsonpath="),
        ("namespace/default", "-o", "jsonpath={.items[*].spec}"),
        ("nodes", "-o", "yaml"),
    ],
)
def test_other_output_formats_are_errors(embedded: EmbeddedLfgpods, words: tuple[str, ...]) -> None:
    refused = kubectl(embedded, "get", *words)
    assert (refused.exit_code, refused.stdout) == (1, b"")
    assert b"the embedded host has no output format" in refused.stderr
