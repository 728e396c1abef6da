from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfgpods.errors import TemplateError
from lfgpods.labels import OWNER_ID, Object, read_owner, read_spec
from lfgpods.manifests import BUILTIN_TEMPLATES, Manifests, render
from lfgpods.naming import Owner, names_of
from lfgpods.spec import PodSpec, Resources

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kubernetes_validate.utils import all_versions, validate

SPEC = PodSpec("busybox:1.36", Resources("1Gi", "1", "128Mi", "50m"), "1Gi", (8080, 3000))
ROOT = "/mnt/data/user-volumes"
VERSIONS = [version for version in all_versions() if int(version.split(".")[1]) >= 29]


def drawn(id: str = "my-app", spec: PodSpec = SPEC, templates: Path | None = None) -> Manifests:
    owner = Owner.project(id)
    return render(owner, names_of(owner), spec, volume_root=ROOT, conversation_id="c 1", templates=templates)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_manifests_fit_the_schemas_of_kubernetes(version: str) -> None:
    for obj in drawn().objects:
        validate(obj, version, strict=True)


def test_the_schemas_are_those_from_1_29_to_the_newest() -> None:
    assert VERSIONS[0].startswith("1.29")
    assert len(VERSIONS) >= 5


def test_the_data_is_kept_and_bound_without_waiting() -> None:
    manifests = drawn()
    volume, claim = manifests.volume["spec"], manifests.claim["spec"]
    assert volume["persistentVolumeReclaimPolicy"] == "Retain"
    assert volume["hostPath"]["path"] == f"{ROOT}/proj-my-app"
    assert (volume["claimRef"]["name"], volume["claimRef"]["namespace"]) == ("proj-my-app-pvc", "proj-my-app")
    assert "volumeName" not in claim
    assert manifests.deployment["spec"]["strategy"] == {"type": "Recreate"}


def test_store_and_owner_can_be_rebuilt_from_the_namespace() -> None:
    namespace = drawn("My App").namespace
    assert read_owner(namespace) == Owner.project("My App")
    assert read_spec(namespace) == SPEC


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
        ("persistent-volume-claim", builtin("persistent-volume-claim") + "  volumeName: x", "volumeName"),
        ("deployment", builtin("deployment").replace("replicas: 1", "replicas: 2"), "replicas"),
        ("namespace", builtin("namespace").replace("annotations | tojson", "{}"), "annotation"),
    ],
)
def test_a_template_that_would_do_harm_is_refused(tmp_path: Path, name: str, text: str, said: str) -> None:
    with pytest.raises(TemplateError, match=said) as refused:
        drawn(templates=own(tmp_path, name, text))
    assert name in refused.value.message
