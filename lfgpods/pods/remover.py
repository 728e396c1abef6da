"""Delete a pod, or purge everything of an owner including the files. Call under the owner's lock only.

A purge removes only what is proven to be the owner's. An interrupted purge either has not touched a file, or will be
completed.
"""

from __future__ import annotations

import posixpath
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lfgpods.core.errors import KubernetesError, VolumeError
from lfgpods.core.objects import Object
from lfgpods.core.operation import Operation
from lfgpods.core.owners import Owner
from lfgpods.core.settings import Settings
from lfgpods.kube.diagnosis import has_ended, is_terminating
from lfgpods.kube.kinds import of_kind
from lfgpods.kube.labels import DELETED_AT, PURGING, annotation, is_managed, read_owner
from lfgpods.kube.nodes import nodes_of, reachable
from lfgpods.pods.lock import HOLDER, OwnerLock
from lfgpods.pods.objects import OwnerObjects, is_marked_deleted, not_the_owner, storage_class, volume_folder
from lfgpods.pods.reader import PodReader
from lfgpods.pods.rollout import force_resync, wait_ended
from lfgpods.volumes import folders
from lfgpods.volumes.folders import Presence

if TYPE_CHECKING:
    from lfgpods.kube.objects import PersistentVolume

TIMEOUT = 120.0
"""Default time limit of a deletion, in seconds."""
_MIN_WAIT = 5.0
"""Seconds that each last step of a purge gets, even if the time limit has passed."""


class PodRemover:
    """Removes pods, namespaces, volumes and folders, with kubectl and on its host."""

    def __init__(self, reader: PodReader, settings: Settings) -> None:
        self._reader = reader
        self._settings = settings
        self._kubectl = reader.kubectl
        self._host = reader.host
        self._placement = reader.placement
        self._provisioned = reader.provisioned

    def delete(self, owner: Owner, objects: OwnerObjects, operation: Operation) -> None:
        """Delete Deployment and Service, and wait until no container uses the volume."""
        names = owner.names
        if objects.deployment or objects.service:
            workload = [f"deployment/{names.deployment}", f"service/{names.service}"]
            moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            namespace = f"namespace/{names.namespace}"
            noted = self._kubectl.annotate_step(namespace, names.namespace, DELETED_AT, moment)
            self._kubectl.delete(workload, names.namespace, before=[noted])
        if objects.namespace:
            wait_ended(self._kubectl, names, objects.pods, operation)

    def unmark(self, owner: Owner, objects: OwnerObjects) -> None:
        """Remove the time of deletion after a delete that was interrupted before it deleted anything."""
        if is_marked_deleted(objects):
            names = owner.names
            unmarked: Object = {"metadata": {"annotations": {DELETED_AT: None}}}
            self._kubectl.patch(f"namespace/{names.namespace}", names.namespace, unmarked)

    def purge(self, owner: Owner, objects: OwnerObjects, lock: OwnerLock, operation: Operation) -> bool:
        """Remove everything of OWNER, including the data. Returns False if there was nothing.

        Raises KubernetesError or VolumeError, with nothing changed, unless all of it is proven to be OWNER's.
        """
        names = owner.names
        if storage_class(objects) is not None:
            self._check_provisioned(owner, objects)
            lock.check()
            if objects.volume:
                self._provisioned.begin_purge(objects.volume)
            self._purge_namespace(owner, objects, operation)
            if objects.volume:
                self._provisioned.end_purge(objects.volume, operation.at_least(_MIN_WAIT))
            return objects.exists
        folder = volume_folder(objects, names, self._settings.volume_root)
        self._check_purge(owner, objects, folder)
        lock.check()
        if objects.volume:
            # If this purge is interrupted, the annotation tells later commands.
            begun = {"metadata": {"annotations": {PURGING: "true"}}}
            self._kubectl.patch(f"persistentvolume/{names.volume}", names.namespace, begun)
        self._purge_namespace(owner, objects, operation)
        if not (objects.volume or self.looks_for_folders):
            return objects.exists
        operation.on_step("removing the volume folder")
        removed = self._remove_folder(posixpath.dirname(folder), names.namespace, lock, operation)
        if objects.volume:
            # Last, because the volume proves who owns the folder if this purge is interrupted.
            lock.check()
            self._kubectl.delete(
                [f"persistentvolume/{names.volume}"], names.namespace, wait=max(_MIN_WAIT, operation.left)
            )
        return removed or objects.exists

    @property
    def looks_for_folders(self) -> bool:
        """Whether there may be volume folders without a PersistentVolume."""
        return self._settings.defaults.storage_class is None

    def remove_namespace(self, owner: Owner, objects: OwnerObjects, operation: Operation) -> None:
        """Delete OWNER's namespace and wait until it is gone, even if another caller started the deletion.

        Kubernetes checks a terminating namespace every 5 s at first, then less and less often, so a re-sync helps.
        """
        names = owner.names
        namespace = f"namespace/{names.namespace}"
        references = [
            f"deployment/{names.deployment}",
            f"service/{names.service}",
            f"persistentvolumeclaim/{names.claim}",
            namespace,
        ]
        self._kubectl.delete(references, names.namespace)
        wait_ended(self._kubectl, names, objects.pods, operation)
        self._forget_ended_pods(owner)
        force_resync(self._kubectl, namespace, names)
        operation.on_step("waiting for the namespace to terminate")
        self._kubectl.wait_gone(namespace, names.namespace, max(_MIN_WAIT, operation.left))

    def _purge_namespace(self, owner: Owner, objects: OwnerObjects, operation: Operation) -> None:
        names = owner.names
        if objects.namespace:
            self.remove_namespace(owner, objects, operation)
        if self._kubectl.get([f"namespace/{names.namespace}"], names.namespace):
            raise KubernetesError(
                f"the namespace {names.namespace} was created again during the purge",
                "The volume was not touched. Purge again to remove both.",
                code="conflict",
            )

    def _forget_ended_pods(self, owner: Owner) -> None:
        """Delete the objects of ended pods. kubelet would need up to ten seconds."""
        names = owner.names
        pods = self._kubectl.get_pods(names.namespace, f"app={names.namespace}")
        if ended := [f"pod/{pod.metadata.name}" for pod in pods if has_ended(pod)]:
            self._kubectl.delete(ended, names.namespace, at_once=True)

    def has_folder(self, owner: Owner) -> bool:
        """Whether OWNER's volume folder exists, without asking the cluster."""
        return (
            self.looks_for_folders and self._look(self._settings.volume_root, owner.names.namespace) is Presence.THERE
        )

    def check_no_folder(self, owner: Owner, remembered: str) -> None:
        """Raise KubernetesError if REMEMBERED, the folder in OWNER's stored pod, still exists."""
        root, name = posixpath.split(remembered)
        if root.startswith("/") and name == owner.names.namespace and self._look(root, name) is Presence.THERE:
            raise KubernetesError(
                f"the files of {owner} are in the folder {remembered}; a provisioned volume would be empty",
                f"Nothing was changed. To use the files: lfgpods create {owner.option} --storage-class ''",
                code="other_storage",
            )

    def end_interrupted_purge(
        self, owner: Owner, objects: OwnerObjects, lock: OwnerLock, operation: Operation
    ) -> str | None:
        """Undo an interrupted purge that has not touched a file; complete any other interrupted purge.

        Returns a notice, after which OBJECTS are out of date; None if there was no such purge.
        """
        if annotation(objects.volume, PURGING) is None:
            return None
        names = owner.names
        if objects.provisioned and objects.volume is not None:
            claim = objects.claim
            if claim is not None and not is_terminating(claim) and not is_terminating(objects.namespace):
                self._provisioned.undo_purge(objects.volume)
                return "a purge had been interrupted before it released the volume; the files are still there"
            self.purge(owner, objects, lock, operation)
            return "an interrupted purge was completed; the volume is new"
        folder = volume_folder(objects, names, self._settings.volume_root)
        root, name = posixpath.split(folder)
        self._check_is_here(owner, objects.volume)
        if folders.undo_purge(self._host, root, name, sudo=self._settings.sudo) is Presence.THERE:
            undone: Object = {"metadata": {"annotations": {PURGING: None}}}
            self._kubectl.patch(f"persistentvolume/{names.volume}", names.namespace, undone)
            return f"a purge had been interrupted before it touched a file; the files in {folder} are still there"
        self.purge(owner, objects, lock, operation)
        return "an interrupted purge was completed; the volume is new"

    def remove_lock(self, namespace: str, token: str) -> None:
        """Remove the Lease of the holder with TOKEN. A Lease that another caller has taken since stays."""
        self._kubectl.delete_selected("leases", namespace, f"{HOLDER}={token}")

    def remove_set_aside(self, name: str) -> None:
        """Remove a folder that an interrupted purge has set aside. Raises VolumeError for any other folder."""
        if not name.endswith(folders.PURGING_SUFFIX):
            raise VolumeError(f"nothing proves that {name} may be removed", "Nothing was changed.")
        folders.purge(self._host, self._settings.volume_root, name, sudo=self._settings.sudo)

    def _look(self, root: str, name: str) -> Presence:
        return folders.look(self._host, root, name, sudo=self._settings.sudo)

    def _remove_folder(self, root: str, name: str, lock: OwnerLock, operation: Operation) -> bool:
        """Remove a volume folder. While a container still uses it, retry until OPERATION expires."""
        while True:
            lock.check()
            try:
                return folders.purge(self._host, root, name, sudo=self._settings.sudo)
            except VolumeError as error:
                if error.code != folders.IN_USE or operation.expired:
                    raise
                operation.on_step("waiting for the last container to end")
                threading.Event().wait(0.5)

    def _check_provisioned(self, owner: Owner, objects: OwnerObjects) -> None:
        """Raise KubernetesError unless its labels or its claim prove that the volume is OWNER's."""
        names, volume, claim = owner.names, objects.volume, objects.claim
        if volume is not None and not (
            (volume.claim.namespace, volume.claim.name) == (names.namespace, names.claim)
            and ((claim is not None and volume.claim.uid == claim.metadata.uid) or read_owner(volume) == owner)
        ):
            raise not_the_owner(f"nothing proves that the volume of {names.namespace} belongs to {owner}")
        if objects.namespace is not None and not is_managed(objects.namespace):
            raise not_the_owner(f"nothing proves that {names.namespace} belongs to {owner}")

    def _check_is_here(self, owner: Owner, volume: PersistentVolume | None) -> None:
        """Raise KubernetesError if the folder of VOLUME is not on this host."""
        if not self._placement.is_here(volume):
            names, nodes = owner.names, " or ".join(sorted(nodes_of(volume) or ()))
            remedy = f"Run the command there: set K8S_SSH_HOST to {nodes}."
            if not reachable(self._placement.nodes(), volume):
                left = f"namespace/{names.namespace} persistentvolume/{names.volume}"
                remedy = f"If that node and its disk are gone for good: kubectl delete {left}"
            raise KubernetesError(
                f"the volume folder of {owner} is on the node {nodes}, not on this host",
                f"Nothing was changed. {remedy}",
                code="other_node",
            )

    def _check_purge(self, owner: Owner, objects: OwnerObjects, folder: str) -> None:
        """Raise KubernetesError unless labels and path prove that namespace, volume and folder are OWNER's alone.

        Raises VolumeError if the folder is missing and its disk may not be mounted.
        """
        names = owner.names
        root, name = posixpath.split(folder)
        claimed_by = objects.volume.claim.namespace if objects.volume else ""
        volume_is_ours = name == names.namespace and claimed_by in ("", names.namespace)
        namespace_is_ours = objects.namespace is None or is_managed(objects.namespace) or objects.volume is not None
        if not (volume_is_ours and namespace_is_ours):
            raise not_the_owner(f"nothing proves that {names.namespace} and its volume belong to {owner}")
        if root != self._settings.volume_root:
            raise KubernetesError(
                f"the volume of {owner} is in {folder}, outside the volume root",
                f"Nothing was changed. If this is the right folder, purge with LFGPODS_VOLUME_ROOT={root}.",
                code="outside_volume_root",
            )
        if objects.volume and not objects.volume.spec.host_path.path:
            raise not_the_owner(f"the PersistentVolume of {owner} is not a host folder")
        self._check_is_here(owner, objects.volume)
        begun = annotation(objects.volume, PURGING) is not None
        absent = (Presence.UNKNOWN,) if begun else (Presence.UNKNOWN, Presence.BARE)
        if objects.volume and self._look(root, name) in absent:
            raise folders.missing(root, name)
        for volume in of_kind(self._kubectl.get_all("persistentvolumes"), "PersistentVolume"):
            path = posixpath.normpath(volume.spec.host_path.path)
            if volume.metadata.name != names.volume and f"{path}/".startswith(f"{folder}/"):
                raise not_the_owner(f"the PersistentVolume {volume.metadata.name} uses the folder of {owner} too")
