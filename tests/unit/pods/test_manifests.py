from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfgpods.core.errors import TemplateError, UsageError
from lfgpods.core.objects import Object
from lfgpods.core.owners import Owner, names_of
from lfgpods.core.spec import Hardening, PodSpec, Resources
from lfgpods.kube.labels import OWNER, OWNER_ID, read_owner, read_spec
from lfgpods.kube.labels import SPEC as SPEC_ANNOTATION
from lfgpods.kube.nodes import Node, node_affinity
from lfgpods.kube.objects import read_object
from lfgpods.pods.manifests import BUILTIN_TEMPLATES, Manifests, prepare, render
from lfgpods.pods.objects import owner_objects
from lfgpods.pods.status import actual_spec, pod_of

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kubernetes_validate.utils import all_versions, validate

SPEC = PodSpec("busybox:1.36", Resources("1Gi", "1", "128Mi", "50m"), "1Gi", (8080, 3000))
ROOT = "/mnt/data/user-volumes"
RESTRICTED = replace(SPEC, restricted=True, runtime_class="gvisor")
OF_CLASS = replace(SPEC, storage_class="fast")
ALL_OFF = Hardening(
    seccomp=False, pod_security="privileged", network_policy=False, limit_range=False, resource_quota=False
)
NETWORKS = ("10.244.1.0/24", "fd00:2::/64", "10.244.0.0/24", "172.16.0.0/16")
VERSIONS = list(dict.fromkeys(version for version in all_versions() if int(version.split(".")[1]) >= 29))


def drawn(
    id: str = "my-app",
    spec: PodSpec = SPEC,
    templates: Path | None = None,
    hardening: Hardening = Hardening(),
    pod_cidrs: tuple[str, ...] = (),
    affinity: Object | None = None,
    kept_volume: str | None = None,
) -> Manifests:
    owner = Owner.project(id)
    return render(
        owner,
        names_of(owner),
        spec,
        volume_root=ROOT,
        conversation_id="c 1",
        templates=templates,
        hardening=hardening,
        pod_cidrs=pod_cidrs,
        affinity=affinity,
        kept_volume=kept_volume,
    )


def volume_of(manifests: Manifests) -> Object:
    assert manifests.volume is not None
    return manifests.volume


def policy(manifests: Manifests, kind: str) -> Any:
    return next(obj["spec"] for obj in manifests.policies if obj["kind"] == kind)


def pod_spec(manifests: Manifests) -> Any:
    return manifests.deployment["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_fit_the_schemas_of_kubernetes(version: str) -> None:
    every = (
        drawn(affinity=node_affinity(Node("one", "one"))),
        drawn(spec=RESTRICTED, pod_cidrs=NETWORKS),
        drawn(hardening=ALL_OFF),
        drawn(spec=OF_CLASS, kept_volume="pvc-1"),
        drawn(spec=OF_CLASS, hardening=ALL_OFF),
    )
    for obj in (obj for manifests in every for obj in manifests.objects):
        validate(obj, version, strict=True)


def test_the_schemas_are_those_from_1_29_to_the_newest() -> None:
    assert VERSIONS[0].startswith("1.29")
    assert len(VERSIONS) >= 5


def test_the_data_is_kept_and_bound_without_waiting() -> None:
    manifests = drawn()
    volume, claim = volume_of(manifests)["spec"], manifests.claim["spec"]
    assert volume["persistentVolumeReclaimPolicy"] == "Retain"
    assert volume["hostPath"]["path"] == f"{ROOT}/proj-my-app"
    assert (volume["claimRef"]["name"], volume["claimRef"]["namespace"]) == ("proj-my-app-pvc", "proj-my-app")
    assert "volumeName" not in claim
    assert manifests.deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_a_folder_is_tied_to_its_node_only_where_that_is_asked_for() -> None:
    affinity = node_affinity(Node("one", "label-of-one"))
    assert volume_of(drawn(affinity=affinity))["spec"]["nodeAffinity"] == affinity
    assert "nodeAffinity" not in volume_of(drawn())["spec"]
    assert "storage_class" not in volume_of(drawn())["metadata"]["annotations"][SPEC_ANNOTATION]


def test_a_claim_of_a_class_says_whose_it_is_and_names_only_a_volume_that_was_kept() -> None:
    first, again = drawn(spec=OF_CLASS), drawn(spec=OF_CLASS, kept_volume="pvc-1")
    assert first.volume is None
    assert (first.claim["spec"]["storageClassName"], "volumeName" in first.claim["spec"]) == ("fast", False)
    assert again.claim["spec"]["volumeName"] == "pvc-1"
    for obj in (first.claim, first.namespace):
        assert read_spec(read_object(obj)) == OF_CLASS
    # A provisioned disk belongs to root, whoever the image's user is.
    assert pod_spec(first)["securityContext"]["fsGroup"] == 1000
    assert "fsGroup" not in pod_spec(drawn())["securityContext"]
    assert first.deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_store_and_owner_can_be_rebuilt_from_the_namespace_and_without_it_from_the_volume() -> None:
    manifests = drawn("My App", RESTRICTED)
    for obj in (manifests.namespace, volume_of(manifests)):
        assert read_owner(read_object(obj)) == Owner.project("My App")
        assert read_spec(read_object(obj)) == RESTRICTED
    pod = pod_of(
        Owner.project("My App"),
        names_of(Owner.project("My App")),
        owner_objects([read_object(volume_of(manifests))]),
        "h",
        SPEC,
        ROOT,
    )
    assert (pod.spec, pod.conversation_id) == (RESTRICTED, "c 1")


def test_a_volume_without_the_id_tells_it_by_its_labels_if_they_give_its_name() -> None:
    plain, hashed = drawn("my-app"), drawn("My App")
    for obj in (volume_of(plain), plain.namespace, volume_of(hashed)):
        del obj["metadata"]["annotations"]
    assert read_owner(read_object(volume_of(plain))) == Owner.project("my-app")
    assert read_owner(read_object(plain.namespace)) is None
    assert read_owner(read_object(volume_of(hashed))) is None
    volume_of(plain)["metadata"]["labels"][OWNER] = "other"
    assert read_owner(read_object(volume_of(plain))) is None


def test_the_quota_comes_before_nothing_but_the_pod() -> None:
    assert [obj["kind"] for obj in drawn().objects] == [
        "Namespace", "PersistentVolume", "PersistentVolumeClaim", "Service",
        "NetworkPolicy", "LimitRange", "ResourceQuota", "Deployment",
    ]  # fmt: skip


def test_what_is_switched_off_is_left_out_and_named() -> None:
    assert drawn().switched_off == ()
    off = drawn(hardening=ALL_OFF)
    assert off.policies == ()
    assert off.switched_off == (
        "networkpolicy/proj-my-app-netpol",
        "limitrange/proj-my-app-limits",
        "resourcequota/proj-my-app-quota",
    )
    one = drawn(hardening=Hardening(limit_range=False))
    assert [obj["kind"] for obj in one.policies] == ["NetworkPolicy", "ResourceQuota"]
    assert one.switched_off == ("limitrange/proj-my-app-limits",)


def let_in(*known: str, hardening: Hardening = Hardening()) -> Any:
    found = policy(drawn(hardening=hardening, pod_cidrs=known), "NetworkPolicy")
    assert (found["podSelector"], found["policyTypes"], len(found["ingress"])) == ({}, ["Ingress"], 1)
    own, *blocks = found["ingress"][0]["from"]
    assert own == {"podSelector": {}}
    return [block["ipBlock"] for block in blocks]


def test_only_what_is_no_pod_of_another_namespace_gets_in() -> None:
    assert let_in() == []
    assert let_in("10.244.0.0/16") == [{"cidr": "0.0.0.0/0", "except": ["10.244.0.0/16"]}]
    assert let_in("fd00:2::/64") == [{"cidr": "::/0", "except": ["fd00:2::/64"]}]
    assert let_in(*NETWORKS) == [
        {"cidr": "0.0.0.0/0", "except": ["10.244.0.0/23", "172.16.0.0/16"]},
        {"cidr": "::/0", "except": ["fd00:2::/64"]},
    ]
    assert let_in("0.0.0.0/0") == []


def test_networks_of_the_settings_win_over_those_of_the_nodes() -> None:
    named = Hardening(pod_cidrs=("10.0.0.0/8",))
    assert let_in("192.168.0.0/24", hardening=named) == [{"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}]


def test_no_container_gets_more_than_the_pod_was_made_with() -> None:
    limits, requests = {"cpu": "1", "memory": "1Gi"}, {"cpu": "50m", "memory": "128Mi"}
    (found,) = policy(drawn(), "LimitRange")["limits"]
    assert found == {"type": "Container", "max": limits, "default": limits, "defaultRequest": requests}


def violations(spec: Any, level: str) -> list[str]:
    """Where a pod is not as the Pod Security Standards have it, as far as our templates could touch them."""
    pod, (container,) = spec.get("securityContext") or {}, spec["containers"]
    context = container.get("securityContext") or {}
    both = {**pod, **context}
    capabilities = context.get("capabilities") or {}
    baseline = {
        "host namespaces": not any(spec.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")),
        "privileged": not context.get("privileged"),
        "capabilities added": not capabilities.get("add"),
        "volumes": all(not volume.get("hostPath") for volume in spec["volumes"]),
        "host ports": all(not port.get("hostPort") for port in container["ports"]),
        "unconfined": (both.get("seccompProfile") or {}).get("type") != "Unconfined",
    }
    restricted = {
        "volume types": all(set(volume) == {"name", "persistentVolumeClaim"} for volume in spec["volumes"]),
        "privilege escalation": context.get("allowPrivilegeEscalation") is False,
        "root": both.get("runAsNonRoot") is True and both.get("runAsUser") != 0,
        "seccomp": (both.get("seccompProfile") or {}).get("type") in ("RuntimeDefault", "Localhost"),
        "capabilities kept": "ALL" in capabilities.get("drop", ()),
    }
    asked = {**baseline, **(restricted if level == "restricted" else {})}
    return [name for name, fine in asked.items() if not fine]


@pytest.mark.parametrize("hardening", [Hardening(), ALL_OFF, Hardening(service_account_token=True)])
@pytest.mark.parametrize("spec", [SPEC, RESTRICTED])
def test_a_pod_is_as_its_namespace_demands(spec: PodSpec, hardening: Hardening) -> None:
    manifests = drawn(spec=spec, hardening=hardening)
    level = manifests.namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert level == hardening.level(spec)
    assert violations(pod_spec(manifests), "restricted" if spec.restricted else "baseline") == []


def test_an_ordinary_pod_would_not_pass_for_a_restricted_one() -> None:
    assert violations(pod_spec(drawn()), "restricted") == ["privilege escalation", "root", "capabilities kept"]


def test_a_pod_that_its_namespace_would_refuse_is_refused_before_anything_is_made() -> None:
    with pytest.raises(UsageError) as refused:
        drawn(hardening=Hardening(pod_security="restricted"))
    assert refused.value.code == "not_restricted"
    drawn(spec=RESTRICTED, hardening=Hardening(pod_security="restricted"))


def test_token_seccomp_user_and_runtime_are_as_they_are_set() -> None:
    plain, off = pod_spec(drawn()), pod_spec(drawn(hardening=ALL_OFF))
    assert plain["automountServiceAccountToken"] is False
    assert plain["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert "securityContext" not in off
    assert "runtimeClassName" not in plain
    assert pod_spec(drawn(hardening=Hardening(service_account_token=True)))["automountServiceAccountToken"] is True
    restricted = pod_spec(drawn(spec=RESTRICTED, hardening=replace(ALL_OFF, restricted_user=33333)))
    ids = [restricted["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")]
    assert ids == [33333, 33333, 33333]
    assert restricted["runtimeClassName"] == "gvisor"


@pytest.mark.parametrize("spec", [SPEC, RESTRICTED])
def test_what_the_deployment_says_counts_more_than_what_was_recorded(spec: PodSpec) -> None:
    manifests, recorded = drawn(spec=spec), drawn(spec=RESTRICTED if spec == SPEC else SPEC)
    documents = [recorded.namespace, volume_of(recorded), manifests.deployment, manifests.service]
    objects = [read_object(document) for document in documents]
    assert actual_spec(owner_objects(objects), SPEC) == spec
    assert actual_spec(owner_objects(objects[:2]), SPEC) == read_spec(objects[0])


def test_the_revision_tells_pods_apart() -> None:
    assert drawn().revision == drawn().revision
    other = PodSpec("busybox:1.37", SPEC.resources, SPEC.storage_size, SPEC.ports)
    assert drawn().revision != drawn(spec=other).revision


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=80).filter(str.strip))
def test_no_id_breaks_out_of_its_place(id: str) -> None:
    manifests = drawn(id)
    assert manifests.namespace["metadata"]["annotations"][OWNER_ID] == id
    assert json.loads(json.dumps(manifests.objects)) == list(manifests.objects)
    plain = drawn()
    assert [sorted(obj) for obj in manifests.objects] == [sorted(obj) for obj in plain.objects]


HOSTILE = [
    "a: b",
    "{{ 7 * 7 }}",
    "- x",
    "#c",
    "\"'",
    "yes",
    "1e3",
    "null",
    "😀 ü",
    "&a *a",
    "!!python/object:os",
    "%{x}",
    "---",
]


@pytest.mark.parametrize("id", HOSTILE)
def test_hostile_text_stays_text(id: str) -> None:
    assert drawn(id).namespace["metadata"]["annotations"][OWNER_ID] == id


def own(tmp_path: Path, name: str, text: str) -> Path:
    (tmp_path / f"{name}.yaml.j2").write_text(text)
    return tmp_path


def builtin(name: str) -> str:
    return (BUILTIN_TEMPLATES / f"{name}.yaml.j2").read_text()


def test_a_template_of_ones_own_replaces_the_built_in_one(tmp_path: Path) -> None:
    text = builtin("deployment").replace("terminationGracePeriodSeconds: 15", "terminationGracePeriodSeconds: 99")
    changed: Object = drawn(templates=own(tmp_path, "deployment", text)).deployment
    assert changed["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 99


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("service", "{{ nonsense }}", "'nonsense' is undefined"),
        ("service", "{% for %}", "cannot be rendered"),
        ("service", "a: [", "cannot be rendered"),
        ("service", "", "0 documents"),
        ("service", "- a", "not one object"),
        ("service", "apiVersion: v1\nkind: Service", "without metadata"),
        ("service", "{{ ''.__class__.__mro__ }}", "cannot be rendered"),
        ("namespace", builtin("service"), "kind"),
        ("service", builtin("service").replace("names.namespace", "names.claim"), "metadata.namespace"),
        ("service", builtin("service").replace("names.service", "names.claim"), "metadata.name"),
        ("service", builtin("service").replace("labels | tojson", "{}"), "label"),
        ("persistent-volume", builtin("persistent-volume").replace("Retain", "Delete"), "reclaim policy"),
        ("persistent-volume", builtin("persistent-volume").replace("folder", "names.claim"), "hostPath"),
        ("persistent-volume", builtin("persistent-volume").replace("claimRef", "other"), "claimRef"),
        ("persistent-volume", builtin("persistent-volume").replace("nodeAffinity:", "other:"), "nodeAffinity"),
        ("persistent-volume-claim", builtin("persistent-volume-claim") + "  volumeName: x", "volumeName"),
        ("provisioned-claim", builtin("provisioned-claim") + "  volumeName: x", "volumeName"),
        (
            "provisioned-claim",
            builtin("provisioned-claim").replace("spec.storage_class", "names.claim"),
            "storageClass",
        ),
        ("deployment", builtin("deployment").replace("replicas: 1", "replicas: 2"), "replicas"),
        ("namespace", builtin("namespace").replace("annotations | tojson", "{}"), "annotation"),
        ("persistent-volume", builtin("persistent-volume").replace("annotations | tojson", "{}"), "annotation"),
        (
            "network-policy",
            builtin("network-policy").replace("podSelector: {}\n  p", "podSelector: {a: b}\n  p"),
            "podSelector",
        ),
        ("network-policy", builtin("network-policy").replace("  podSelector: {}\n  p", "  p"), "podSelector"),
        ("network-policy", builtin("network-policy").replace("[Ingress]", "[Egress]"), "policyTypes"),
        ("network-policy", builtin("network-policy").replace("labels | tojson", "{}"), "label"),
        ("network-policy", builtin("network-policy").replace("names.network_policy", "names.claim"), "metadata.name"),
        ("limit-range", builtin("limit-range").partition("spec:")[0], "spec.limits"),
        ("resource-quota", builtin("resource-quota").partition("hard:")[0], "spec.hard"),
        ("resource-quota", builtin("limit-range"), "kind"),
    ],
)
def test_a_template_that_would_do_harm_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said) as refused:
        drawn(
            templates=own(tmp_path, name, text),
            spec=OF_CLASS if name == "provisioned-claim" else SPEC,
            affinity=node_affinity(Node("one", "one")),
        )
    assert name in refused.value.message


def test_what_was_prepared_is_only_to_be_filled_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path)
    monkeypatch.setattr("jinja2.Environment.compile", lambda *_, **__: pytest.fail("not prepared"))
    assert drawn(templates=tmp_path) == drawn()
    assert drawn(templates=tmp_path, spec=OF_CLASS).volume is None


def test_a_template_that_is_wrong_is_refused_when_it_is_rendered_and_not_before(tmp_path: Path) -> None:
    own(tmp_path, "service", "{% for %}")
    (tmp_path / "namespace.yaml.j2").write_bytes(b"\xff")
    prepare(tmp_path)
    with pytest.raises(TemplateError, match=r"namespace\.yaml\.j2 cannot be rendered"):
        drawn(templates=tmp_path)
