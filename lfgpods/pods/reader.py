"""Reads an owner's objects in the cluster, with or without its lock. Changes nothing, does not use the store."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from lfgpods.core.operation import Operation
from lfgpods.core.owners import Owner
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
"""The kinds that describe every owner's pod, longest list first, because they are listed in parallel."""
SINGLE_LIST_MAX_OWNERS = 30
"""Up to this many owners, one kubectl for all kinds is faster than one for each kind."""
NODE_STATUS_TTL = 2.0
"""How long node data may be reused in a status, in seconds."""


class PodReader:
    """Reads the objects of lfgpods' owners with kubectl on HOST."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self.kubectl = Kubectl(host, settings.kubectl)
        self.placement = Placement(self.kubectl, host, settings)
        self.provisioned = ProvisionedVolumes(self.kubectl, settings.instance)
        self.host = host
        self._settings = settings
        self.lock_namespace = f"namespace/{settings.lock_namespace}"
        self.has_provisioned = False
        """Whether the cluster may have a provisioned volume whose namespace is gone."""

    def read(self, owner: Owner, pod_name: str | None = None) -> OwnerObjects:
        """Return the owner's objects. One remote command, or two if POD_NAME is not the running pod.

        Raises KubernetesError if the namespace belongs to another owner.
        """
        return self._complete(owner, self.kubectl.get(self._references(owner, pod_name), owner.names.namespace))

    @contextmanager
    def locked(
        self,
        owner: Owner,
        operation: Operation,
        *,
        pod_name: str | None = None,
        to_render: PodSpec | None = None,
    ) -> Iterator[tuple[OwnerLock, OwnerObjects]]:
        """Hold the lock of OWNER. Yields it and the objects, read under the lock.

        With TO_RENDER, prefetches at the same time what a create of that pod needs.
        Raises TimeLimitError if another caller holds the lock until OPERATION runs out of time.
        """
        lock = OwnerLock(
            self.kubectl,
            owner.names,
            operation,
            namespace=self._settings.lock_namespace,
            instance=self._settings.instance,
        )
        with self._prefetching(to_render):
            found = lock.take(self._references(owner, pod_name))
        try:
            yield lock, self._complete(owner, found)
        finally:
            lock.release()

    @contextmanager
    def _prefetching(self, spec: PodSpec | None) -> Iterator[None]:
        """Meanwhile, query what a create of SPEC needs and load the templates, each in a thread."""
        if spec is None:
            yield
            return
        with ThreadPoolExecutor(2, "lfgpods-create") as pool:
            pool.submit(self.placement.prefetch, spec.storage_class)
            pool.submit(manifests.prepare, self._settings.templates)
            yield

    def _complete(self, owner: Owner, found: Sequence[KubeObject]) -> OwnerObjects:
        names = owner.names
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
            raise not_the_owner(f"the namespace {names.namespace} exists, but lfgpods did not create it")
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
        names = owner.names
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
        """Return OWNER's pod as OBJECTS describe it. Asks nothing."""
        settings = self._settings
        address = self.host.address
        return pod_of(owner, owner.names, objects, address, settings.defaults, settings.volume_root)

    def exit_reason(self, owner: Owner, pod_name: str) -> str | None:
        """Return how the pod ended, in words, or None if it still runs."""
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
        """Return every owner's pod and kept volume, by namespace. EXPECTED is the likely number, 0 if unknown."""
        known = []
        for namespace, listed in group_by_namespace(self.everything(_KINDS, expected)).items():
            objects = owner_objects(listed)
            proof = objects.namespace or objects.volume
            owner = read_owner(proof) if proof else None
            if owner is not None and owner.names.namespace == namespace:
                known.append((owner, objects))
        complete = self._with_nodes(*(objects for _, objects in known))
        found = [self.pod(owner, objects) for (owner, _), objects in zip(known, complete, strict=True)]
        return sorted(found, key=lambda pod: pod.namespace)

    def everything(self, kinds: Sequence[str], expected: int) -> list[ListedObject]:
        """Return all objects of KINDS with lfgpods' labels. EXPECTED is the likely number of owners, 0 if unknown."""
        labels = selector(self._settings.instance)
        return self.kubectl.get_everywhere(kinds, labels, few=0 < expected <= SINGLE_LIST_MAX_OWNERS)

    def folders(self, *, name: str | None = None, measured: bool = False) -> list[folders.Folder]:
        """Return the volume folders on the host, or only NAME; with MEASURED, with sizes and last changes."""
        root, sudo = self._settings.volume_root, self._settings.sudo
        return folders.survey(self.host, root, name=name, measured=measured, sudo=sudo)
