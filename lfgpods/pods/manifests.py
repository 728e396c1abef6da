"""Render templates to an owner's objects and check each of them. No network.

A template is rendered in a sandbox, where an undefined value is an error. The result is parsed and checked, so no value
can break out of its place in the template.
"""

from __future__ import annotations

import functools
import hashlib
import ipaddress
import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfgpods.core.errors import TemplateError, UsageError
from lfgpods.core.objects import Object
from lfgpods.core.owners import Names, Owner
from lfgpods.core.spec import Hardening, PodSpec
from lfgpods.kube.labels import REVISION, annotations_for, labels_for

_PACKAGE = Path(__file__).parents[1]
BUILTIN_TEMPLATES = next(
    (folder for folder in (_PACKAGE / "templates", _PACKAGE.parent / "templates") if folder.is_dir()), _PACKAGE
)


@dataclass(frozen=True)
class Manifests:
    """An owner's objects, in the order in which they must be created."""

    namespace: Object
    volume: Object | None
    """None for a provisioned volume."""
    claim: Object
    service: Object
    policies: tuple[Object, ...]
    """The enabled policies of the namespace. The quota is last: until Kubernetes has counted the first time, it refuses
    everything, and of the later objects only the pod is retried."""
    deployment: Object
    switched_off: tuple[str, ...]
    """The disabled policies as `kind/name`, to be deleted."""

    @property
    def objects(self) -> tuple[Object, ...]:
        volume = (self.volume,) if self.volume else ()
        return (self.namespace, *volume, self.claim, self.service, *self.policies, self.deployment)

    @property
    def revision(self) -> str:
        """A hash that distinguishes the pods of this Deployment from earlier ones."""
        return str(self.deployment["spec"]["template"]["metadata"]["annotations"][REVISION])


def prepare(templates: Path | None) -> None:
    """Load templates ahead of `render`, to save time. Leaves errors to `render`."""
    import jinja2
    import yaml  # noqa: F401

    environment = _environment(templates)
    for file in BUILTIN_TEMPLATES.glob("*.yaml.j2"):
        with suppress(jinja2.TemplateError, OSError, ValueError):
            environment.get_template(file.name)


def render(
    owner: Owner,
    names: Names,
    spec: PodSpec,
    *,
    volume_root: str,
    conversation_id: str | None = None,
    templates: Path | None = None,
    hardening: Hardening = Hardening(),
    pod_cidrs: Iterable[str] = (),
    affinity: Object | None = None,
    kept_volume: str | None = None,
    instance: str | None = None,
) -> Manifests:
    """Render OWNER's objects. A file in TEMPLATES replaces the built-in one with the same name.

    POD_CIDRS are the pod networks of the cluster; those in HARDENING take precedence.
    AFFINITY pins the volume folder to its node. KEPT_VOLUME names a provisioned volume to claim again.
    INSTANCE is the installation in the labels.
    Raises TemplateError, and UsageError if HARDENING does not allow the pod.
    """
    if hardening.pod_security == "restricted" and not spec.restricted:
        raise UsageError(
            f"the pod of {owner} is not restricted, but LFGPODS_POD_SECURITY requires it",
            "Create it with --restricted, or set LFGPODS_POD_SECURITY to baseline.",
            code="not_restricted",
        )
    labels = labels_for(owner, names, instance)
    folder = names.folder(volume_root)
    values = {
        "owner": owner,
        "names": names,
        "spec": spec,
        "folder": folder,
        "labels": labels,
        "annotations": annotations_for(owner, conversation_id, spec),
        "hardening": hardening,
        "outside": _outside(hardening.pod_cidrs or pod_cidrs),
        "affinity": affinity,
        "kept_volume": kept_volume,
    }
    policies = (
        (hardening.network_policy, "network-policy", "networking.k8s.io/v1", "NetworkPolicy", names.network_policy),
        (hardening.limit_range, "limit-range", "v1", "LimitRange", names.limits),
        (hardening.resource_quota, "resource-quota", "v1", "ResourceQuota", names.quota),
    )
    draw = functools.partial(_render_one, _environment(templates), values)
    in_folder = spec.storage_class is None
    claim = "persistent-volume-claim" if in_folder else "provisioned-claim"
    manifests = Manifests(
        namespace=draw("namespace", "v1", "Namespace", names.namespace),
        volume=draw("persistent-volume", "v1", "PersistentVolume", names.volume) if in_folder else None,
        claim=draw(claim, "v1", "PersistentVolumeClaim", names.claim),
        service=draw("service", "v1", "Service", names.service),
        policies=tuple(draw(*what) for switched_on, *what in policies if switched_on),
        deployment=draw("deployment", "apps/v1", "Deployment", names.deployment),
        switched_off=tuple(f"{kind.lower()}/{name}" for on, _, _, kind, name in policies if not on),
    )
    _check_bindings(manifests, names)
    _check_storage(manifests, names, folder, spec.storage_class, affinity=affinity, kept_volume=kept_volume)
    for policy in manifests.policies:
        _check_policy(policy)
    pod_template = manifests.deployment["spec"]["template"]
    revision = hashlib.sha256(json.dumps(pod_template, sort_keys=True).encode()).hexdigest()[:16]
    pod_template["metadata"].setdefault("annotations", {})[REVISION] = revision
    return manifests


def _outside(pod_cidrs: Iterable[str]) -> list[Object]:
    """Return the address blocks outside POD_CIDRS. Omits an address family without a known network."""
    networks = [ipaddress.ip_network(cidr, strict=False) for cidr in pod_cidrs]
    v4 = ipaddress.collapse_addresses(one for one in networks if isinstance(one, ipaddress.IPv4Network))
    v6 = ipaddress.collapse_addresses(one for one in networks if isinstance(one, ipaddress.IPv6Network))
    blocks = {"0.0.0.0/0": list(map(str, v4)), "::/0": list(map(str, v6))}
    return [{"cidr": every, "except": inside} for every, inside in blocks.items() if inside and every not in inside]


@functools.cache
def _environment(templates: Path | None) -> Any:
    from jinja2 import FileSystemLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    folders = [folder for folder in (templates, BUILTIN_TEMPLATES) if folder]
    return ImmutableSandboxedEnvironment(loader=FileSystemLoader(folders), undefined=StrictUndefined)


def _render_one(
    environment: Any, values: Mapping[str, Any], template: str, api_version: str, kind: str, name: str
) -> Object:
    import jinja2
    import yaml

    file = f"{template}.yaml.j2"
    try:
        documents = list(yaml.safe_load_all(environment.get_template(file).render(values)))
        obj = json.loads(json.dumps(documents[0])) if len(documents) == 1 else None
    except (jinja2.TemplateError, yaml.YAMLError, TypeError, ValueError, ArithmeticError) as error:
        reason = " ".join(str(error).split())
        raise TemplateError(f"the template {file} cannot be rendered: {reason}", _HINT) from error
    if not isinstance(obj, dict):
        raise TemplateError(f"the template {file} renders {len(documents)} documents, not one object", _HINT)
    metadata = obj.get("metadata")
    if not isinstance(metadata, dict):
        raise TemplateError(f"the template {file} renders an object without metadata", _HINT)
    namespaced = kind not in ("Namespace", "PersistentVolume")
    _expect(file, "apiVersion", obj.get("apiVersion"), api_version)
    _expect(file, "kind", obj.get("kind"), kind)
    _expect(file, "metadata.name", metadata.get("name"), name)
    _expect(file, "metadata.namespace", metadata.get("namespace"), values["names"].namespace if namespaced else None)
    _expect_all(file, "label", metadata.get("labels"), values["labels"])
    if kind in ("Namespace", "PersistentVolume"):
        _expect_all(file, "annotation", metadata.get("annotations"), values["annotations"])
    return obj


def _check_storage(
    manifests: Manifests,
    names: Names,
    folder: str,
    storage_class: str | None,
    *,
    affinity: Object | None,
    kept_volume: str | None,
) -> None:
    """Check the fields that keep the data safe."""
    named = _at(manifests.claim, "spec", "volumeName")
    if storage_class is not None:
        claim = "provisioned-claim.yaml.j2"
        _expect(claim, "spec.storageClassName", _at(manifests.claim, "spec", "storageClassName"), storage_class)
        _expect(claim, "spec.volumeName", named, kept_volume)
        return
    claim_ref = {"namespace": names.namespace, "name": names.claim}
    volume = "persistent-volume.yaml.j2"
    _expect(volume, "spec.hostPath.path", _at(manifests.volume, "spec", "hostPath", "path"), folder)
    _expect(volume, "reclaim policy", _at(manifests.volume, "spec", "persistentVolumeReclaimPolicy"), "Retain")
    if affinity is not None:
        _expect(volume, "any spec.nodeAffinity", bool(_at(manifests.volume, "spec", "nodeAffinity")), True)
    _expect_all(volume, "spec.claimRef", _at(manifests.volume, "spec", "claimRef"), claim_ref)
    _expect("persistent-volume-claim.yaml.j2", "spec.volumeName", named, None)


def _check_bindings(manifests: Manifests, names: Names) -> None:
    """Check the fields by which the pod is found."""
    selector = {"app": names.namespace}
    deployment = "deployment.yaml.j2"
    _expect(deployment, "spec.replicas", _at(manifests.deployment, "spec", "replicas"), 1)
    _expect(deployment, "selector", _at(manifests.deployment, "spec", "selector", "matchLabels"), selector)
    pod_labels = {**manifests.deployment["metadata"]["labels"], **selector}
    _expect_all(
        deployment, "pod label", _at(manifests.deployment, "spec", "template", "metadata", "labels"), pod_labels
    )
    _expect("service.yaml.j2", "spec.selector", _at(manifests.service, "spec", "selector"), selector)


def _check_policy(policy: Object) -> None:
    """Check that an enabled policy is not empty."""
    match policy["kind"]:
        case "NetworkPolicy":
            file = "network-policy.yaml.j2"
            _expect(file, "spec.podSelector", _at(policy, "spec", "podSelector"), {})
            _expect(file, "Ingress in spec.policyTypes", "Ingress" in (_at(policy, "spec", "policyTypes") or ()), True)
        case "LimitRange":
            _expect("limit-range.yaml.j2", "any spec.limits", bool(_at(policy, "spec", "limits")), True)
        case "ResourceQuota":
            _expect("resource-quota.yaml.j2", "any spec.hard", bool(_at(policy, "spec", "hard")), True)


_HINT = "Compare your template in LFGPODS_TEMPLATES with the built-in one."


def _at(obj: Any, *keys: str) -> Any:
    for key in keys:
        obj = obj.get(key) if isinstance(obj, dict) else None
    return obj


def _expect(file: str, what: str, found: object, expected: object) -> None:
    if found != expected:
        raise TemplateError(f"the template {file} renders {what} {found!r}, not {expected!r}", _HINT)


def _expect_all(file: str, what: str, found: object, expected: Mapping[str, str]) -> None:
    for key, value in expected.items():
        if not isinstance(found, dict) or found.get(key) != value:
            raise TemplateError(f"the template {file} omits the {what} {key}={value}", _HINT)
