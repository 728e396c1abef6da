"""Taking away: a pod, or all of an owner, the files included. Called under the owner's lock only.

A purge removes what is proven to be the owner's, and has either not touched a file or is seen through.
"""

from __future__ import annotations

import posixpath
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lfgpods.core.errors import KubernetesError, VolumeError
from lfgpods.core.objects import Object
from lfgpods.core.operation import Operation
from lfgpods.core.owners import Owner, names_of
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
"""Seconds that a deletion is given, unless the caller says otherwise."""
_LAST_LOOK = 5.0
"""Seconds for what is left to do once that time is over."""


class PodRemover:
    """What can be taken away through kubectl and on its host."""

    def __init__(self, reader: PodReader, settings: Settings) -> None:
        self._reader = reader
        self._settings = settings
        self._kubectl = reader.kubectl
        self._host = reader.host
        self._placement = reader.placement
        self._provisioned = reader.provisioned

    def delete(self, owner: Owner, objects: OwnerObjects, operation: Operation) -> None:
        """Take Deployment and Service away, and wait until nothing runs on the volume any more."""
        names = names_of(owner)
        if objects.deployment or objects.service:
            workload = [f"deployment/{names.deployment}", f"service/{names.service}"]
            moment = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            namespace = f"namespace/{names.namespace}"
            noted = self._kubectl.annotate_step(namespace, names.namespace, DELETED_AT, moment)
            self._kubectl.delete(workload, names.namespace, before=[noted])
        if objects.namespace:
            wait_ended(self._kubectl, names, objects.pods, operation)

    def unmark(self, owner: Owner, objects: OwnerObjects) -> None:
        """Take the moment of a deletion away that was cut short before it deleted anything."""
        if is_marked_deleted(objects):
            names = names_of(owner)
            unmarked: Object = {"metadata": {"annotations": {DELETED_AT: None}}}
            self._kubectl.patch(f"namespace/{names.namespace}", names.namespace, unmarked)

    def purge(self, owner: Owner, objects: OwnerObjects, lock: OwnerLock, operation: Operation) -> bool:
        """Take all of OWNER away, the data included; whether there was anything.

        Raises KubernetesError or VolumeError, with nothing changed, unless all of it is proven to be OWNER's.
        """
        names = names_of(owner)
        if storage_class(objects) is not None:
            self._check_provisioned(owner, objects)
            lock.check()
            if objects.volume:
                self._provisioned.begin_purge(objects.volume)
            self._purge_namespace(owner, objects, operation)
            if objects.volume:
                self._provisioned.end_purge(objects.volume, operation.at_least(_LAST_LOOK))
            return objects.exists
        folder = volume_folder(objects, names, self._settings.volume_root)
        self._check_purge(owner, objects, folder)
        lock.check()
        if objects.volume:
            # So that everybody who comes by knows of it, should this be cut short.
            begun = {"metadata": {"annotations": {PURGING: "true"}}}
            self._kubectl.patch(f"persistentvolume/{names.volume}", names.namespace, begun)
        self._purge_namespace(owner, objects, operation)
        if not (objects.volume or self.looks_for_folders):
            return objects.exists
        operation.on_step("removing the volume folder")
        removed = self._remove_folder(posixpath.dirname(folder), names.namespace, lock, operation)
        if objects.volume:
            # Last, because it is the proof of whose folder it is, should this be cut short before.
            lock.check()
            self._kubectl.delete(
                [f"persistentvolume/{names.volume}"], names.namespace, wait=max(_LAST_LOOK, operation.left)
            )
        return removed or objects.exists

    @property
    def looks_for_folders(self) -> bool:
        """Whether there may be volume folders of which the cluster does not know."""
        return self._settings.defaults.storage_class is None

    def remove_namespace(self, owner: Owner, objects: OwnerObjects, operation: Operation) -> None:
        """Delete OWNER's namespace with all that is in it, and wait for its end, whoever began with it.

        Kubernetes looks into a deleted namespace after 5 s, and the more rarely the longer something is in it.
        """
        names = names_of(owner)
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
        operation.on_step("waiting for the namespace to end")
        self._kubectl.wait_gone(namespace, names.namespace, max(_LAST_LOOK, operation.left))

    def _purge_namespace(self, owner: Owner, objects: OwnerObjects, operation: Operation) -> None:
        names = names_of(owner)
        if objects.namespace:
            self.remove_namespace(owner, objects, operation)
        if self._kubectl.get([f"namespace/{names.namespace}"], names.namespace):
            raise KubernetesError(
                f"the namespace {names.namespace} was made again while it was purged",
                "The volume was left alone. Purge again if that is still what you want.",
                code="conflict",
            )

    def _forget_ended_pods(self, owner: Owner) -> None:
        """Delete the objects of pods that have ended, which kubelet would only do in its next round of ten seconds."""
        names = names_of(owner)
        pods = self._kubectl.get_pods(names.namespace, f"app={names.namespace}")
        if ended := [f"pod/{pod.metadata.name}" for pod in pods if has_ended(pod)]:
            self._kubectl.delete(ended, names.namespace, at_once=True)

    def has_folder(self, owner: Owner) -> bool:
        """Whether OWNER's volume folder is there, for all that the cluster knows."""
        return (
            self.looks_for_folders
            and self._look(self._settings.volume_root, names_of(owner).namespace) is Presence.THERE
        )

    def check_no_folder(self, owner: Owner, remembered: str) -> None:
        """Raise KubernetesError where the folder that OWNER's volume is REMEMBERED to be is still there."""
        root, name = posixpath.split(remembered)
        if root.startswith("/") and name == names_of(owner).namespace and self._look(root, name) is Presence.THERE:
            raise KubernetesError(
                f"the files of {owner} are in the folder {remembered}, and a volume of a storage class would be empty",
                f"Nothing was changed. Use them: lfgpods create {owner.option} --storage-class ''",
                code="other_storage",
            )

    def end_interrupted_purge(
        self, owner: Owner, objects: OwnerObjects, lock: OwnerLock, operation: Operation
    ) -> str | None:
        """Undo a purge that was cut short before it touched a file, and see every other one through.

        Returns what was found, in words, if OBJECTS are out of date now; None if there was no such purge.
        """
        if annotation(objects.volume, PURGING) is None:
            return None
        names = names_of(owner)
        if objects.provisioned and objects.volume is not None:
            claim = objects.claim
            if claim is not None and not is_terminating(claim) and not is_terminating(objects.namespace):
                self._provisioned.undo_purge(objects.volume)
                return "a purge had been cut short before it gave up the volume; its files are still there"
            self.purge(owner, objects, lock, operation)
            return "a purge had been cut short; it was seen through, and the volume is new"
        folder = volume_folder(objects, names, self._settings.volume_root)
        root, name = posixpath.split(folder)
        self._check_is_here(owner, objects.volume)
        if folders.undo_purge(self._host, root, name, sudo=self._settings.sudo) is Presence.THERE:
            undone: Object = {"metadata": {"annotations": {PURGING: None}}}
            self._kubectl.patch(f"persistentvolume/{names.volume}", names.namespace, undone)
            return f"a purge had been cut short before it touched a file; the files in {folder} are still there"
        self.purge(owner, objects, lock, operation)
        return "a purge had been cut short; it was seen through, and the volume is new"

    def remove_lock(self, namespace: str, token: str) -> None:
        """Remove the Lease of the holder that had TOKEN; one that somebody else took meanwhile stays."""
        self._kubectl.delete_selected("leases", namespace, f"{HOLDER}={token}")

    def remove_set_aside(self, name: str) -> None:
        """Remove a folder that a purge has set aside and not lived to remove. Raises VolumeError for any other."""
        if not name.endswith(folders.PURGING_SUFFIX):
            raise VolumeError(f"nothing proves that {name} may be removed", "Nothing was changed.")
        folders.purge(self._host, self._settings.volume_root, name, sudo=self._settings.sudo)

    def _look(self, root: str, name: str) -> Presence:
        return folders.look(self._host, root, name, sudo=self._settings.sudo)

    def _remove_folder(self, root: str, name: str, lock: OwnerLock, operation: Operation) -> bool:
        """Remove a volume folder; a container that is still ending is given the time that is left."""
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
        """Raise KubernetesError unless labels, or the claim that it is bound to, prove that the volume is OWNER's."""
        names, volume, claim = names_of(owner), objects.volume, objects.claim
        if volume is not None and not (
            (volume.claim.namespace, volume.claim.name) == (names.namespace, names.claim)
            and ((claim is not None and volume.claim.uid == claim.metadata.uid) or read_owner(volume) == owner)
        ):
            raise not_the_owner(f"nothing proves that the volume of {names.namespace} belongs to {owner}")
        if objects.namespace is not None and not is_managed(objects.namespace):
            raise not_the_owner(f"nothing proves that {names.namespace} belongs to {owner}")

    def _check_is_here(self, owner: Owner, volume: PersistentVolume | None) -> None:
        """Raise KubernetesError where the folder of VOLUME is on another node than the host."""
        if not self._placement.is_here(volume):
            names, nodes = names_of(owner), " or ".join(sorted(nodes_of(volume) or ()))
            remedy = f"Do it from there: set K8S_SSH_HOST to {nodes}."
            if not reachable(self._placement.nodes(), volume):
                left = f"namespace/{names.namespace} persistentvolume/{names.volume}"
                remedy = f"If that node is gone for good, and its disk too: kubectl delete {left}"
            raise KubernetesError(
                f"the volume folder of {owner} is on the node {nodes}, and this host is another one",
                f"Nothing was changed. {remedy}",
                code="other_node",
            )

    def _check_purge(self, owner: Owner, objects: OwnerObjects, folder: str) -> None:
        """Raise KubernetesError unless labels and path prove that namespace, volume and folder are OWNER's alone.

        And VolumeError where the folder is missing and nothing shows that its disk is there.
        """
        names = names_of(owner)
        root, name = posixpath.split(folder)
        claimed_by = objects.volume.claim.namespace if objects.volume else ""
        volume_is_ours = name == names.namespace and claimed_by in ("", names.namespace)
        namespace_is_ours = objects.namespace is None or is_managed(objects.namespace) or objects.volume is not None
        if not (volume_is_ours and namespace_is_ours):
            raise not_the_owner(f"nothing proves that {names.namespace} and its volume belong to {owner}")
        if root != self._settings.volume_root:
            raise KubernetesError(
                f"the volume of {owner} is in {folder}, which is outside of the volume root",
                f"Nothing was changed. If it really is its data, purge with LFGPODS_VOLUME_ROOT={root}.",
                code="outside_volume_root",
            )
        if objects.volume and not objects.volume.spec.host_path.path:
            raise not_the_owner(f"the PersistentVolume of {owner} is no folder of the host")
        self._check_is_here(owner, objects.volume)
        begun = annotation(objects.volume, PURGING) is not None
        absent = (Presence.UNKNOWN,) if begun else (Presence.UNKNOWN, Presence.BARE)
        if objects.volume and self._look(root, name) in absent:
            raise folders.missing(root, name)
        for volume in of_kind(self._kubectl.get_all("persistentvolumes"), "PersistentVolume"):
            path = posixpath.normpath(volume.spec.host_path.path)
            if volume.metadata.name != names.volume and f"{path}/".startswith(f"{folder}/"):
                raise not_the_owner(f"the PersistentVolume {volume.metadata.name} uses the folder of {owner} too")
