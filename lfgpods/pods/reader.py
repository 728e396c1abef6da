"""An owner's objects in the cluster and on the host: read together, applied, labelled, taken away.

Brings manifests, kubectl and volume folders together, and knows nothing of the store. Whatever changes an owner's
objects is called under its lock.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from lfgpods.core.objects import Object, metadata
from lfgpods.core.owners import Owner, names_of
from lfgpods.core.pod import Pod
from lfgpods.core.progress import OnStep
from lfgpods.core.settings import Settings
from lfgpods.core.spec import PodSpec
from lfgpods.hosts.base import Host
from lfgpods.kube.diagnosis import diagnose, is_terminating, newest_pod, ready_pod
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.labels import PROVISIONED, SELECTOR, is_managed, read_owner
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
        self.provisioned = ProvisionedVolumes(self.kubectl)
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
        timeout: float,
        on_step: OnStep,
        *,
        pod_name: str | None = None,
        to_render: PodSpec | None = None,
    ) -> Iterator[tuple[OwnerLock, OwnerObjects]]:
        """The lock of OWNER, and its objects as they are once it is held; both in one remote command.

        With TO_RENDER that command also finds out what has to be known of the cluster to make such a pod.
        Raises TimeLimitError where somebody else holds the lock for longer than TIMEOUT seconds.
        """
        names = names_of(owner)
        lock = OwnerLock(
            self.kubectl,
            names,
            self._references(owner, pod_name),
            namespace=self._settings.lock_namespace,
            timeout=timeout,
            on_step=on_step,
            beside=self.placement.questions(to_render.storage_class) if to_render else (),
            meanwhile=(lambda: manifests.prepare(self._settings.templates)) if to_render else None,
        )
        lock.take()
        try:
            self.placement.learn(lock.said)
            yield lock, self._complete(owner, lock.found)
        finally:
            lock.release()

    def _complete(self, owner: Owner, found: Sequence[Object]) -> OwnerObjects:
        names = names_of(owner)
        for obj in found:
            self.has_provisioned |= PROVISIONED in metadata(obj, "annotations")
        others = [obj for obj in found if obj["kind"] == "Namespace" and obj["metadata"]["name"] != names.namespace]
        snapshot = owner_objects([obj for obj in found if obj not in others])
        if snapshot.volume is None and snapshot.provisioned and snapshot.claim is not None:
            snapshot = replace(snapshot, volume=self.provisioned.of_claim(snapshot.claim))
        elif snapshot.volume is None and self._may_be_left_behind and not is_bound(snapshot.claim):
            snapshot = replace(snapshot, volume=self.provisioned.left_behind(owner))
        if snapshot.namespace is None:
            return snapshot
        stated = read_owner(snapshot.namespace)
        if stated is not None and stated != owner:
            raise not_the_owner(f"the namespace {names.namespace} belongs to {stated}, not to {owner}")
        if not is_managed(snapshot.namespace) and len(snapshot.objects) == 1:
            raise not_the_owner(f"the namespace {names.namespace} is there, and lfgpods has not made it")
        if ready_pod(snapshot.pods) is None:
            pods = self.kubectl.get_pods(names.namespace, f"app={names.namespace}")
            snapshot = replace(snapshot, pods=tuple(pods))
        return self._with_nodes(snapshot)[0]

    def _with_nodes(self, *snapshots: OwnerObjects) -> list[OwnerObjects]:
        """SNAPSHOTS with the nodes where those may be why a pod does not run; one remote command, if any."""
        if not any(map(nodes_matter, snapshots)):
            return list(snapshots)
        nodes = self.placement.nodes(within=NODE_STATUS_TTL)
        return [replace(one, nodes=nodes) if nodes_matter(one) else one for one in snapshots]

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

    def pod(self, owner: Owner, snapshot: OwnerObjects) -> Pod:
        settings = self._settings
        address = self.host.address
        return pod_of(owner, names_of(owner), snapshot, address, settings.defaults, settings.volume_root)

    def exit_reason(self, owner: Owner, pod_name: str) -> str | None:
        """In words, what happened to a pod that is not what it was; None where it still runs."""
        pods = self.read(owner).pods
        pod = next((pod for pod in pods if pod["metadata"]["name"] == pod_name), None)
        diagnosis = diagnose(pod) if pod is not None and not is_terminating(pod) else None
        if diagnosis is not None and diagnosis.ready:
            return None
        if diagnosis is not None and diagnosis.error is not None:
            return f"ended ({diagnosis.error.message})"
        successor = newest_pod(one for one in pods if one is not pod and not is_terminating(one))
        return f"replaced by {successor['metadata']['name']}" if successor else "ended"

    def pods(self, expected: int) -> list[Pod]:
        """Every owner's pod and kept volume in the cluster, by namespace; about EXPECTED, or 0 where nobody knows."""
        known = []
        for namespace, objects in group_by_namespace(self.everything(_KINDS, expected)).items():
            snapshot = owner_objects(objects)
            proof = snapshot.namespace or snapshot.volume
            owner = read_owner(proof) if proof else None
            if owner is not None and names_of(owner).namespace == namespace:
                known.append((owner, snapshot))
        snapshots = self._with_nodes(*(snapshot for _, snapshot in known))
        found = [self.pod(owner, snapshot) for (owner, _), snapshot in zip(known, snapshots, strict=True)]
        return sorted(found, key=lambda pod: pod.namespace)

    def everything(self, kinds: Sequence[str], expected: int) -> list[Object]:
        """What lfgpods reads of all objects of KINDS in the cluster that carry its label, of about EXPECTED owners."""
        return self.kubectl.get_everywhere(kinds, SELECTOR, few=0 < expected <= SINGLE_LIST_MAX_OWNERS)

    def folders(self, *, name: str | None = None, measured: bool = False) -> list[folders.Folder]:
        """The volume folders on the host, or the one called NAME; with MEASURED their sizes and last changes too."""
        root, sudo = self._settings.volume_root, self._settings.sudo
        return folders.survey(self.host, root, name=name, measured=measured, sudo=sudo)
