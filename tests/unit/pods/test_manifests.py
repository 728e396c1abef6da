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
from lfgpods.core.owners import Owner
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


def rendered(
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
        owner.names,
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
def test_the_manifests_match_the_schemas_of_kubernetes(version: str) -> None:
    every = (
        rendered(affinity=node_affinity(Node("one", "one"))),
        rendered(spec=RESTRICTED, pod_cidrs=NETWORKS),
        rendered(hardening=ALL_OFF),
        rendered(spec=OF_CLASS, kept_volume="pvc-1"),
        rendered(spec=OF_CLASS, hardening=ALL_OFF),
    )
    for obj in (obj for manifests in every for obj in manifests.objects):
        validate(obj, version, strict=True)


def test_the_schemas_cover_1_29_to_the_newest_release() -> None:
    assert VERSIONS[0].startswith("1.29")
    assert len(VERSIONS) >= 5


def test_a_volume_is_retained_and_reserved_for_its_claim() -> None:
    manifests = rendered()
    volume, claim = volume_of(manifests)["spec"], manifests.claim["spec"]
    assert volume["persistentVolumeReclaimPolicy"] == "Retain"
    assert volume["hostPath"]["path"] == f"{ROOT}/proj-my-app"
    assert (volume["claimRef"]["name"], volume["claimRef"]["namespace"]) == ("proj-my-app-pvc", "proj-my-app")
    assert "volumeName" not in claim
    assert manifests.deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_a_folder_is_pinned_to_its_node_only_on_request() -> None:
    affinity = node_affinity(Node("one", "label-of-one"))
    assert volume_of(rendered(affinity=affinity))["spec"]["nodeAffinity"] == affinity
    assert "nodeAffinity" not in volume_of(rendered())["spec"]
    assert "storage_class" not in volume_of(rendered())["metadata"]["annotations"][SPEC_ANNOTATION]


def test_a_provisioned_claim_records_its_spec_and_names_only_a_kept_volume() -> None:
    first, again = rendered(spec=OF_CLASS), rendered(spec=OF_CLASS, kept_volume="pvc-1")
    assert first.volume is None
    assert (first.claim["spec"]["storageClassName"], "volumeName" in first.claim["spec"]) == ("fast", False)
    assert again.claim["spec"]["volumeName"] == "pvc-1"
    for obj in (first.claim, first.namespace):
        assert read_spec(read_object(obj)) == OF_CLASS
    # A provisioned disk belongs to root, whatever the user of the image.
    assert pod_spec(first)["securityContext"]["fsGroup"] == 1000
    assert "fsGroup" not in pod_spec(rendered())["securityContext"]
    assert first.deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_store_and_owner_can_be_rebuilt_from_the_namespace_or_the_volume_alone() -> None:
    manifests = rendered("My App", RESTRICTED)
    for obj in (manifests.namespace, volume_of(manifests)):
        assert read_owner(read_object(obj)) == Owner.project("My App")
        assert read_spec(read_object(obj)) == RESTRICTED
    pod = pod_of(
        Owner.project("My App"),
        Owner.project("My App").names,
        owner_objects([read_object(volume_of(manifests))]),
        "h",
        SPEC,
        ROOT,
    )
    assert (pod.spec, pod.conversation_id) == (RESTRICTED, "c 1")


def test_a_volume_without_an_id_has_the_owner_of_its_labels_if_they_match_its_name() -> None:
    plain, hashed = rendered("my-app"), rendered("My App")
    for obj in (volume_of(plain), plain.namespace, volume_of(hashed)):
        del obj["metadata"]["annotations"]
    assert read_owner(read_object(volume_of(plain))) == Owner.project("my-app")
    assert read_owner(read_object(plain.namespace)) is None
    assert read_owner(read_object(volume_of(hashed))) is None
    volume_of(plain)["metadata"]["labels"][OWNER] = "other"
    assert read_owner(read_object(volume_of(plain))) is None


def test_the_quota_is_the_last_object_before_the_deployment() -> None:
    assert [obj["kind"] for obj in rendered().objects] == [
        "Namespace", "PersistentVolume", "PersistentVolumeClaim", "Service",
        "NetworkPolicy", "LimitRange", "ResourceQuota", "Deployment",
    ]  # fmt: skip


def test_disabled_policies_are_omitted_and_listed_for_deletion() -> None:
    assert rendered().switched_off == ()
    off = rendered(hardening=ALL_OFF)
    assert off.policies == ()
    assert off.switched_off == (
        "networkpolicy/proj-my-app-netpol",
        "limitrange/proj-my-app-limits",
        "resourcequota/proj-my-app-quota",
    )
    one = rendered(hardening=Hardening(limit_range=False))
    assert [obj["kind"] for obj in one.policies] == ["NetworkPolicy", "ResourceQuota"]
    assert one.switched_off == ("limitrange/proj-my-app-limits",)


def let_in(*known: str, hardening: Hardening = Hardening()) -> Any:
    found = policy(rendered(hardening=hardening, pod_cidrs=known), "NetworkPolicy")
    assert (found["podSelector"], found["policyTypes"], len(found["ingress"])) == ({}, ["Ingress"], 1)
    own, *blocks = found["ingress"][0]["from"]
    assert own == {"podSelector": {}}
    return [block["ipBlock"] for block in blocks]


def test_pods_of_other_namespaces_cannot_connect() -> None:
    assert let_in() == []
    assert let_in("10.244.0.0/16") == [{"cidr": "0.0.0.0/0", "except": ["10.244.0.0/16"]}]
    assert let_in("fd00:2::/64") == [{"cidr": "::/0", "except": ["fd00:2::/64"]}]
    assert let_in(*NETWORKS) == [
        {"cidr": "0.0.0.0/0", "except": ["10.244.0.0/23", "172.16.0.0/16"]},
        {"cidr": "::/0", "except": ["fd00:2::/64"]},
    ]
    assert let_in("0.0.0.0/0") == []


def test_pod_networks_in_the_settings_override_those_of_the_nodes() -> None:
    named = Hardening(pod_cidrs=("10.0.0.0/8",))
    assert let_in("192.168.0.0/24", hardening=named) == [{"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}]


def test_no_container_gets_more_than_the_pods_resources() -> None:
    limits, requests = {"cpu": "1", "memory": "1Gi"}, {"cpu": "50m", "memory": "128Mi"}
    (found,) = policy(rendered(), "LimitRange")["limits"]
    assert found == {"type": "Container", "max": limits, "default": limits, "defaultRequest": requests}


def violations(spec: Any, level: str) -> list[str]:
    """Return the Pod Security Standards that a pod violates, of those that our templates can affect."""
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
def test_a_pod_meets_the_security_level_of_its_namespace(spec: PodSpec, hardening: Hardening) -> None:
    manifests = rendered(spec=spec, hardening=hardening)
    level = manifests.namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert level == hardening.level(spec)
    assert violations(pod_spec(manifests), "restricted" if spec.restricted else "baseline") == []


def test_an_ordinary_pod_violates_the_restricted_level() -> None:
    assert violations(pod_spec(rendered()), "restricted") == ["privilege escalation", "root", "capabilities kept"]


def test_a_pod_that_its_namespace_would_refuse_is_refused_first() -> None:
    with pytest.raises(UsageError) as refused:
        rendered(hardening=Hardening(pod_security="restricted"))
    assert refused.value.code == "not_restricted"
    rendered(spec=RESTRICTED, hardening=Hardening(pod_security="restricted"))


def test_token_seccomp_user_and_runtime_class_follow_the_settings() -> None:
    plain, off = pod_spec(rendered()), pod_spec(rendered(hardening=ALL_OFF))
    assert plain["automountServiceAccountToken"] is False
    assert plain["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    assert "securityContext" not in off
    assert "runtimeClassName" not in plain
    assert pod_spec(rendered(hardening=Hardening(service_account_token=True)))["automountServiceAccountToken"] is True
    restricted = pod_spec(rendered(spec=RESTRICTED, hardening=replace(ALL_OFF, restricted_user=33333)))
    ids = [restricted["securityContext"][name] for name in ("runAsUser", "runAsGroup", "fsGroup")]
    assert ids == [33333, 33333, 33333]
    assert restricted["runtimeClassName"] == "gvisor"


@pytest.mark.parametrize("spec", [SPEC, RESTRICTED])
def test_the_deployment_takes_precedence_over_the_recorded_spec(spec: PodSpec) -> None:
    manifests, recorded = rendered(spec=spec), rendered(spec=RESTRICTED if spec == SPEC else SPEC)
    documents = [recorded.namespace, volume_of(recorded), manifests.deployment, manifests.service]
    objects = [read_object(document) for document in documents]
    assert actual_spec(owner_objects(objects), SPEC) == spec
    assert actual_spec(owner_objects(objects[:2]), SPEC) == read_spec(objects[0])


def test_the_revision_changes_with_the_pod() -> None:
    assert rendered().revision == rendered().revision
    other = PodSpec("busybox:1.37", SPEC.resources, SPEC.storage_size, SPEC.ports)
    assert rendered().revision != rendered(spec=other).revision


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=80).filter(str.strip))
def test_no_id_escapes_its_place_in_a_template(id: str) -> None:
    manifests = rendered(id)
    assert manifests.namespace["metadata"]["annotations"][OWNER_ID] == id
    assert json.loads(json.dumps(manifests.objects)) == list(manifests.objects)
    plain = rendered()
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
    assert rendered(id).namespace["metadata"]["annotations"][OWNER_ID] == id


def own(tmp_path: Path, name: str, text: str) -> Path:
    (tmp_path / f"{name}.yaml.j2").write_text(text)
    return tmp_path


def builtin(name: str) -> str:
    return (BUILTIN_TEMPLATES / f"{name}.yaml.j2").read_text()


def test_a_custom_template_replaces_the_built_in_one(tmp_path: Path) -> None:
    text = builtin("deployment").replace("terminationGracePeriodSeconds: 15", "terminationGracePeriodSeconds: 99")
    changed: Object = rendered(templates=own(tmp_path, "deployment", text)).deployment
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
def test_a_harmful_template_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said) as refused:
        rendered(
            templates=own(tmp_path, name, text),
            spec=OF_CLASS if name == "provisioned-claim" else SPEC,
            affinity=node_affinity(Node("one", "one")),
        )
    assert name in refused.value.message


def test_render_loads_no_template_after_prepare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare(tmp_path)
    monkeypatch.setattr("jinja2.Environment.compile", lambda *_, **__: pytest.fail("not prepared"))
    assert rendered(templates=tmp_path) == rendered()
    assert rendered(templates=tmp_path, spec=OF_CLASS).volume is None


def test_an_invalid_template_is_refused_by_render_and_not_by_prepare(tmp_path: Path) -> None:
    own(tmp_path, "service", "{% for %}")
    (tmp_path / "namespace.yaml.j2").write_bytes(b"\xff")
    prepare(tmp_path)
    with pytest.raises(TemplateError, match=r"namespace\.yaml\.j2 cannot be rendered"):
        rendered(templates=tmp_path)
