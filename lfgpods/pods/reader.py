"""An owner's objects in the cluster and on the host: read together, applied, labelled, taken away.

Brings manifests, kubectl and volume folders together, and knows nothing of the store. Whatever changes an owner's
objects is called under its lock.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from lfgpods.core.operation import Operation
from lfgpods.core.owners import Owner, names_of
from lfgpods.core.pod import Pod
from lfgpods.core.settings import Settings
from lfgpods.core.spec import PodSpec
from lfgpods.hosts.base import Host
from lfgpods.kube.diagnosis import diagnose, is_terminating, newest_pod, ready_pod
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.labels import PROVISIONED, annotation, instance_of, is_managed, read_owner, selector
from lfgpods.pods import manifests
from lfgpods.pods.lock import OwnerLock
from lfgpods.pods.objects import (
    OwnerObjects,
    group_by_namespace,
    is_bound,
    not_the_owner,
    owner_objects,
)
from lfgpods.pods.placement import Placement
from lfgpods.pods.status import nodes_matter, pod_of
from lfgpods.volumes import folders
from lfgpods.volumes.provisioned import ProvisionedVolumes

if TYPE_CHECKING:
    from lfgpods.kube.objects import KubeObject, ListedObject

log = logging.getLogger(__name__)

_KINDS = ("pods", "deployments", "persistentvolumes", "services", "namespaces")
"""What tells of every owner's pod; the longest first, as they are listed side by side."""
SINGLE_LIST_MAX_OWNERS = 30
"""Owners up to which one kubectl for all of their objects is faster than one for each kind."""
NODE_STATUS_TTL = 2.0
"""Seconds for which what the nodes told of themselves counts as what they are now."""


class PodReader:
    """What kubectl on HOST can see and change of lfgpods' owners."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self.kubectl = Kubectl(host, settings.kubectl)
        self.placement = Placement(self.kubectl, host, settings)
        self.provisioned = ProvisionedVolumes(self.kubectl, settings.instance)
        self.host = host
        self._settings = settings
        self.lock_namespace = f"namespace/{settings.lock_namespace}"
        self.has_provisioned = False
        """Whether the cluster says that a volume of a storage class may be there whose namespace is not."""

    def read(self, owner: Owner, pod_name: str | None = None) -> OwnerObjects:
        """The owner's objects: one remote command, or two where the running pod is not the one called POD_NAME.

        Raises KubernetesError if the namespace says that it belongs to somebody else.
        """
        return self._complete(owner, self.kubectl.get(self._references(owner, pod_name), names_of(owner).namespace))

    @contextmanager
    def locked(
        self,
        owner: Owner,
        operation: Operation,
        *,
        pod_name: str | None = None,
        to_render: PodSpec | None = None,
    ) -> Iterator[tuple[OwnerLock, OwnerObjects]]:
        """The lock of OWNER, and its objects as they are once it is held.

        With TO_RENDER, finds out at the same time what a create of such a pod needs to know.
        Raises TimeLimitError if somebody else holds the lock until the time of OPERATION is over.
        """
        lock = OwnerLock(
            self.kubectl,
            names_of(owner),
            operation,
            namespace=self._settings.lock_namespace,
            instance=self._settings.instance,
        )
        with self._looking_ahead(to_render):
            found = lock.take(self._references(owner, pod_name))
        try:
            yield lock, self._complete(owner, found)
        finally:
            lock.release()

    @contextmanager
    def _looking_ahead(self, spec: PodSpec | None) -> Iterator[None]:
        """Meanwhile, ask for what a create of SPEC needs to know, and load the templates, each in a thread."""
        if spec is None:
            yield
            return
        with ThreadPoolExecutor(2, "lfgpods-create") as pool:
            pool.submit(self.placement.look_ahead, spec.storage_class)
            pool.submit(manifests.prepare, self._settings.templates)
            yield

    def _complete(self, owner: Owner, found: Sequence[KubeObject]) -> OwnerObjects:
        names = names_of(owner)
        for obj in found:
            self.has_provisioned |= annotation(obj, PROVISIONED) is not None
        others = [obj for obj in found if obj.kind == "Namespace" and obj.metadata.name != names.namespace]
        objects = owner_objects([obj for obj in found if obj not in others])
        self._check_instance(objects)
        if objects.volume is None and objects.provisioned and objects.claim is not None:
            objects = replace(objects, volume=self.provisioned.of_claim(objects.claim))
        elif objects.volume is None and self._may_be_left_behind and not is_bound(objects.claim):
            objects = replace(objects, volume=self.provisioned.left_behind(owner))
        if objects.namespace is None:
            return objects
        stated = read_owner(objects.namespace)
        if stated is not None and stated != owner:
            raise not_the_owner(f"the namespace {names.namespace} belongs to {stated}, not to {owner}")
        if not is_managed(objects.namespace) and len(objects.existing) == 1:
            raise not_the_owner(f"the namespace {names.namespace} is there, and lfgpods has not made it")
        if ready_pod(objects.pods) is None:
            pods = self.kubectl.get_pods(names.namespace, f"app={names.namespace}")
            objects = replace(objects, pods=tuple(pods))
        return self._with_nodes(objects)[0]

    def _check_instance(self, objects: OwnerObjects) -> None:
        """Raise KubernetesError if the namespace or the volume belongs to another installation."""
        ours = self._settings.instance
        for obj in (objects.namespace, objects.volume):
            if obj is not None and (theirs := instance_of(obj)) != ours:
                which = f"belongs to the instance {theirs}" if theirs else f"does not belong to the instance {ours}"
                raise not_the_owner(f"the {obj.kind} {obj.metadata.name} {which}")

    def _with_nodes(self, *several: OwnerObjects) -> list[OwnerObjects]:
        """SEVERAL, with the nodes if a node may be the reason why a pod does not run. One remote command at most."""
        if not any(map(nodes_matter, several)):
            return list(several)
        nodes = self.placement.nodes(within=NODE_STATUS_TTL)
        return [replace(one, nodes=nodes) if nodes_matter(one) else one for one in several]

    @property
    def _may_be_left_behind(self) -> bool:
        return self.has_provisioned or self._settings.defaults.storage_class is not None

    def _references(self, owner: Owner, pod_name: str | None) -> list[str]:
        names = names_of(owner)
        references = [
            f"namespace/{names.namespace}",
            f"persistentvolume/{names.volume}",
            f"persistentvolumeclaim/{names.claim}",
            f"deployment/{names.deployment}",
            f"service/{names.service}",
            *([f"pod/{pod_name}"] if pod_name else []),
        ]
        return references if self.lock_namespace in references else [self.lock_namespace, *references]

    def pod(self, owner: Owner, objects: OwnerObjects) -> Pod:
        settings = self._settings
        address = self.host.address
        return pod_of(owner, names_of(owner), objects, address, settings.defaults, settings.volume_root)

    def exit_reason(self, owner: Owner, pod_name: str) -> str | None:
        """In words, what happened to a pod that is not what it was; None where it still runs."""
        pods = self.read(owner).pods
        pod = next((pod for pod in pods if pod.metadata.name == pod_name), None)
        diagnosis = diagnose(pod) if pod is not None and not is_terminating(pod) else None
        if diagnosis is not None and diagnosis.ready:
            return None
        if diagnosis is not None and diagnosis.error is not None:
            return f"ended ({diagnosis.error.message})"
        successor = newest_pod(one for one in pods if one is not pod and not is_terminating(one))
        return f"replaced by {successor.metadata.name}" if successor else "ended"

    def pods(self, expected: int) -> list[Pod]:
        """Every owner's pod and kept volume in the cluster, by namespace; about EXPECTED, or 0 where nobody knows."""
        known = []
        for namespace, listed in group_by_namespace(self.everything(_KINDS, expected)).items():
            objects = owner_objects(listed)
            proof = objects.namespace or objects.volume
            owner = read_owner(proof) if proof else None
            if owner is not None and names_of(owner).namespace == namespace:
                known.append((owner, objects))
        complete = self._with_nodes(*(objects for _, objects in known))
        found = [self.pod(owner, objects) for (owner, _), objects in zip(known, complete, strict=True)]
        return sorted(found, key=lambda pod: pod.namespace)

    def everything(self, kinds: Sequence[str], expected: int) -> list[ListedObject]:
        """What lfgpods reads of all objects of KINDS in the cluster that carry its labels, of about EXPECTED owners."""
        labels = selector(self._settings.instance)
        return self.kubectl.get_everywhere(kinds, labels, few=0 < expected <= SINGLE_LIST_MAX_OWNERS)

    def folders(self, *, name: str | None = None, measured: bool = False) -> list[folders.Folder]:
        """The volume folders on the host, or the one called NAME; with MEASURED their sizes and last changes too."""
        root, sudo = self._settings.volume_root, self._settings.sudo
        return folders.survey(self.host, root, name=name, measured=measured, sudo=sudo)
