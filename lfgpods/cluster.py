"""An owner's objects in the cluster and on the host: read together, applied, labelled, taken away.

Brings manifests, kubectl and volume folders together, and knows nothing of the store.
"""

from __future__ import annotations

import posixpath
import threading
import time
from dataclasses import replace

from lfgpods import manifests, volumes
from lfgpods.errors import KubernetesError
from lfgpods.hosts import Host
from lfgpods.kubectl import LABEL_FIELD_MANAGER, Kubectl
from lfgpods.labels import PURGING, SELECTOR, Object, is_managed, metadata, read_owner
from lfgpods.manifests import Manifests
from lfgpods.naming import Owner, names_of
from lfgpods.observe import group_by_namespace, pod_of, snapshot_of, volume_folder
from lfgpods.pod import Pod
from lfgpods.rollout import OnStep, still_running, wait_ended
from lfgpods.settings import Settings
from lfgpods.spec import PodSpec
from lfgpods.state import Snapshot, has_ended, is_going, is_ours, ready_pod

DELETE_TIMEOUT = 120.0
_KINDS = ("namespaces", "persistentvolumes", "deployments", "services", "pods")


class Cluster:
    """What kubectl on HOST can see and change of lfgpods' owners."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self.kubectl = Kubectl(host, settings.kubectl)
        self._host = host
        self._settings = settings

    def snapshot(self, owner: Owner, pod_name: str | None = None) -> Snapshot:
        """The owner's objects: one remote command, or two where the running pod is not the one called POD_NAME.

        Raises KubernetesError if the namespace says that it belongs to somebody else.
        """
        names = names_of(owner)
        references = [
            f"namespace/{names.namespace}",
            f"persistentvolume/{names.volume}",
            f"persistentvolumeclaim/{names.claim}",
            f"deployment/{names.deployment}",
            f"service/{names.service}",
        ]
        guess = [f"pod/{pod_name}"] if pod_name else []
        snapshot = snapshot_of(self.kubectl.get(references + guess, names.namespace))
        if snapshot.namespace is None:
            return snapshot
        stated = read_owner(snapshot.namespace)
        if stated is not None and stated != owner:
            raise _not_the_owner(f"the namespace {names.namespace} belongs to {stated}, not to {owner}")
        if not is_managed(snapshot.namespace) and len(snapshot.objects) == 1:
            raise _not_the_owner(f"the namespace {names.namespace} is there, and lfgpods has not made it")
        if ready_pod(snapshot.pods) is None:
            pods = self.kubectl.get_pods(names.namespace, f"app={names.namespace}")
            snapshot = replace(snapshot, pods=tuple(pods))
        return snapshot

    def pod(self, owner: Owner, snapshot: Snapshot) -> Pod:
        settings = self._settings
        address = self._host.address
        return pod_of(owner, names_of(owner), snapshot, address, settings.defaults, settings.volume_root)

    def pods(self) -> list[Pod]:
        """Every owner's pod in the cluster, by namespace; one remote command."""
        found = []
        for namespace, objects in group_by_namespace(self.kubectl.get_everywhere(_KINDS, SELECTOR)).items():
            snapshot = snapshot_of(objects)
            owner = read_owner(snapshot.namespace) if snapshot.namespace else None
            if owner is not None and names_of(owner).namespace == namespace:
                found.append(self.pod(owner, snapshot))
        return sorted(found, key=lambda pod: pod.namespace)

    def settle(self, owner: Owner, snapshot: Snapshot, timeout: float, on_step: OnStep) -> Snapshot:
        """SNAPSHOT once nothing in it is on its way out any more, so that nothing new is made into its end."""
        names = names_of(owner)
        deadline = time.monotonic() + timeout
        while True:
            if PURGING in metadata(snapshot.volume, "annotations"):
                raise KubernetesError(
                    f"a purge of {owner} has begun and not ended",
                    f"Let it end, or end it: lfgpods delete {owner.option} --purge; then create again.",
                    code="purging",
                )
            deletable = {
                f"deployment/{names.deployment}": snapshot.deployment,
                f"persistentvolumeclaim/{names.claim}": snapshot.claim,
                f"namespace/{names.namespace}": snapshot.namespace,
                f"persistentvolume/{names.volume}": snapshot.volume,
            }
            going = [reference for reference, obj in deletable.items() if is_going(obj)]
            abandoned = [] if snapshot.deployment else [pod for pod in snapshot.pods if not has_ended(pod)]
            if not going and not abandoned:
                return snapshot
            on_step("waiting for an earlier deletion to end")
            for reference in going:
                self.kubectl.wait_gone(reference, names.namespace, deadline - time.monotonic())
            if any(map(is_going, abandoned)):
                wait_ended(self.kubectl, names, (), deadline - time.monotonic(), on_step)
            elif abandoned:
                # Their Deployment is being deleted, or was made a moment ago by somebody else; the next look tells.
                if time.monotonic() >= deadline:
                    raise still_running(abandoned[0]["metadata"]["name"], timeout)
                threading.Event().wait(0.2)
            snapshot = self.snapshot(owner)

    def render(self, owner: Owner, spec: PodSpec, conversation_id: str | None, snapshot: Snapshot) -> Manifests:
        """The owner's manifests, with the volume where SNAPSHOT has it. Raises TemplateError."""
        names = names_of(owner)
        root = posixpath.dirname(volume_folder(snapshot, names, self._settings.volume_root))
        templates = self._settings.templates
        return manifests.render(
            owner, names, spec, volume_root=root, conversation_id=conversation_id, templates=templates
        )

    def apply(self, owner: Owner, drawn: Manifests, snapshot: Snapshot, on_step: OnStep) -> Snapshot:
        """Make the folder, and apply DRAWN but for a volume or claim that is there: those are never specified anew."""
        names = names_of(owner)
        on_step("making the volume folder")
        folder = drawn.volume["spec"]["hostPath"]["path"]
        volumes.prepare(self._host, posixpath.dirname(folder), names.namespace, sudo=self._settings.sudo)
        if snapshot.volume and not snapshot.claim and (snapshot.volume["spec"].get("claimRef") or {}).get("uid"):
            on_step("giving the kept volume to a new claim")
            freed = {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}}
            self.kubectl.patch(f"persistentvolume/{names.volume}", names.namespace, freed)
        if snapshot.deployment and not is_ours(snapshot.deployment):
            # Its strategy and its PID 1 are not ours to merge with; its data and its node port stay.
            self.kubectl.delete([f"deployment/{names.deployment}"], names.namespace)
            wait_ended(self.kubectl, names, snapshot.pods, DELETE_TIMEOUT, on_step)
        on_step("applying the manifests")
        # The volume as early and the Deployment as late as can be: each may only be seen after the one before.
        volume = [] if snapshot.volume else [drawn.volume]
        claim = [] if snapshot.claim else [drawn.claim]
        made = snapshot_of(self.kubectl.apply([*volume, drawn.namespace, *claim, drawn.service, drawn.deployment]))
        return replace(made, volume=made.volume or snapshot.volume, claim=made.claim or snapshot.claim)

    def label(self, drawn: Manifests, snapshot: Snapshot) -> None:
        """Put the labels of DRAWN on objects that something else made, and leave the rest of them as it is."""
        there = {obj["kind"] for obj in snapshot.objects}
        metadata_only = [
            {key: obj[key] for key in ("apiVersion", "kind", "metadata")}
            for obj in drawn.objects
            if obj["kind"] in there
        ]
        self.kubectl.apply(metadata_only, field_manager=LABEL_FIELD_MANAGER)

    def delete(self, owner: Owner, snapshot: Snapshot, timeout: float, on_step: OnStep) -> None:
        """Take Deployment and Service away, and wait until nothing runs on the volume any more."""
        names = names_of(owner)
        if snapshot.deployment or snapshot.service:
            workload = [f"deployment/{names.deployment}", f"service/{names.service}"]
            self.kubectl.delete(workload, names.namespace)
        if snapshot.namespace:
            wait_ended(self.kubectl, names, snapshot.pods, timeout, on_step)

    def purge(self, owner: Owner, snapshot: Snapshot, timeout: float, on_step: OnStep) -> None:
        """Take all of OWNER away, the data included. Raises KubernetesError unless it is proven to be OWNER's."""
        names = names_of(owner)
        folder = volume_folder(snapshot, names, self._settings.volume_root)
        _check_purge(owner, snapshot, folder)
        deadline = time.monotonic() + timeout
        if snapshot.volume:
            # So that nobody brings a pod back on a folder that is about to go, also if this is cut short.
            begun = {"metadata": {"annotations": {PURGING: "true"}}}
            self.kubectl.patch(f"persistentvolume/{names.volume}", names.namespace, begun)
        if snapshot.namespace:
            on_step("waiting for the namespace to end")
            references = [
                f"deployment/{names.deployment}",
                f"service/{names.service}",
                f"persistentvolumeclaim/{names.claim}",
                f"namespace/{names.namespace}",
            ]
            self.kubectl.delete(references, names.namespace, wait=timeout)
        if self.kubectl.get([f"namespace/{names.namespace}"], names.namespace):
            raise KubernetesError(
                f"the namespace {names.namespace} was made again while it was purged",
                "The volume folder was left alone. Purge again if that is still what you want.",
                code="conflict",
            )
        on_step("removing the volume folder")
        volumes.purge(self._host, posixpath.dirname(folder), names.namespace, sudo=self._settings.sudo)
        if snapshot.volume:
            # Last, because it is the proof of whose folder it is, should this be cut short before.
            left = max(5.0, deadline - time.monotonic())
            self.kubectl.delete([f"persistentvolume/{names.volume}"], names.namespace, wait=left)


def _check_purge(owner: Owner, snapshot: Snapshot, folder: str) -> None:
    """Raise KubernetesError unless labels and path prove that namespace, volume and folder are OWNER's."""
    namespace = names_of(owner).namespace
    volume_spec: Object = (snapshot.volume or {}).get("spec") or {}
    claimed_by = (volume_spec.get("claimRef") or {}).get("namespace")
    volume_is_ours = posixpath.basename(folder) == namespace and claimed_by in (None, namespace)
    namespace_is_ours = snapshot.namespace is None or is_managed(snapshot.namespace) or snapshot.volume is not None
    if not (volume_is_ours and namespace_is_ours):
        raise _not_the_owner(f"nothing proves that {namespace} and its volume belong to {owner}")


def _not_the_owner(message: str) -> KubernetesError:
    return KubernetesError(
        message,
        "Nothing was changed. Look at it with kubectl; what is really yours can be deleted by hand.",
        code="not_the_owner",
    )
