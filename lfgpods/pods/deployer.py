"""Deploys an owner's pod: its volume folder, manifests and labels. Does not use the store."""

from __future__ import annotations

import logging
import posixpath
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from lfgpods.core.errors import LfgpodsError
from lfgpods.core.objects import Object
from lfgpods.core.operation import Operation
from lfgpods.core.owners import Owner
from lfgpods.core.settings import Settings
from lfgpods.core.spec import PodSpec
from lfgpods.hosts.round_trip import RoundTrip, Step
from lfgpods.kube.diagnosis import has_ended, is_terminating, ready_pod
from lfgpods.kube.kubectl import LABEL_FIELD_MANAGER
from lfgpods.kube.labels import DELETED_AT, PROVISIONED, owner_record
from lfgpods.kube.nodes import node_affinity
from lfgpods.pods import manifests
from lfgpods.pods.lock import OwnerLock
from lfgpods.pods.manifests import Manifests
from lfgpods.pods.objects import (
    OwnerObjects,
    is_bound,
    is_marked_deleted,
    is_ours,
    owner_objects,
    storage_class,
    volume_folder,
)
from lfgpods.pods.reader import PodReader
from lfgpods.pods.remover import TIMEOUT, PodRemover
from lfgpods.pods.rollout import still_terminating, wait_ended
from lfgpods.volumes import folders
from lfgpods.volumes.provisioned import is_retained

if TYPE_CHECKING:
    from lfgpods.kube.objects import PersistentVolume

log = logging.getLogger(__name__)


class PodDeployer:
    """Applies an owner's manifests and retains its volume. The caller holds the owner's lock."""

    def __init__(self, reader: PodReader, remover: PodRemover, settings: Settings) -> None:
        self._reader = reader
        self._remover = remover
        self._settings = settings
        self._kubectl = reader.kubectl
        self._placement = reader.placement
        self._provisioned = reader.provisioned

    def wait_for_terminations(self, owner: Owner, objects: OwnerObjects, operation: Operation) -> OwnerObjects:
        """Wait until none of OBJECTS is terminating. Returns the remaining objects."""
        names = owner.names
        while True:
            deletable = {
                f"deployment/{names.deployment}": objects.deployment,
                f"persistentvolumeclaim/{names.claim}": objects.claim,
                f"namespace/{names.namespace}": objects.namespace,
                # A provisioned volume stays intact while it is bound, even if it was deleted.
                f"persistentvolume/{names.volume}": None if objects.provisioned else objects.volume,
            }
            going = [reference for reference, obj in deletable.items() if is_terminating(obj)]
            abandoned = [] if objects.deployment else [pod for pod in objects.pods if not has_ended(pod)]
            if not going and not abandoned:
                return objects
            operation.on_step("waiting for an earlier deletion to end")
            if is_terminating(objects.namespace):  # with everything in it
                self._remover.remove_namespace(owner, objects, operation)
                objects = self._reader.read(owner)
                continue
            if f"persistentvolume/{names.volume}" in going:
                # The volume waits for its claim, and the claim for the pod. The files stay.
                self._kubectl.delete([*deletable][:2], names.namespace)
            for reference in going:
                self._kubectl.wait_gone(reference, names.namespace, operation.left)
            if any(map(is_terminating, abandoned)):
                wait_ended(self._kubectl, names, (), operation)
            elif abandoned:
                # Their Deployment is being deleted, or another caller just created it. The next read tells which.
                if operation.expired:
                    raise still_terminating(abandoned[0].metadata.name, operation.seconds)
                threading.Event().wait(0.2)
            objects = self._reader.read(owner)

    def render(self, owner: Owner, spec: PodSpec, conversation_id: str | None, objects: OwnerObjects) -> Manifests:
        """Return the owner's manifests for the volume in OBJECTS. Raises TemplateError."""
        names = owner.names
        in_folder = spec.storage_class is None
        root = posixpath.dirname(volume_folder(objects, names, self._settings.volume_root)) if in_folder else "/"
        node = self._placement.folder_node() if in_folder and objects.volume is None else None
        kept = objects.volume.metadata.name if objects.volume and objects.provisioned else None
        return manifests.render(
            owner,
            names,
            spec,
            volume_root=root,
            conversation_id=conversation_id,
            templates=self._settings.templates,
            hardening=self._settings.hardening,
            pod_cidrs=self._placement.networks,
            affinity=node_affinity(node) if node else None,
            kept_volume=kept,
            instance=self._settings.instance,
        )

    def apply(
        self,
        owner: Owner,
        rendered: Manifests,
        objects: OwnerObjects,
        lock: OwnerLock,
        operation: Operation,
        *,
        root_is_made: bool = False,
    ) -> tuple[OwnerObjects, tuple[str, ...]]:
        """Make the folder, apply RENDERED and release LOCK. An existing volume or claim is not applied again.

        With ROOT_IS_MADE, a missing volume root is an error: there are volumes in it.
        Returns the objects as they are then, and notices about repairs of an earlier pod.
        """
        names = owner.names
        in_folder = rendered.volume is not None
        preparation = self._prepare_step(owner, objects, root_is_made) if in_folder else None
        if in_folder and _is_bound_to_another(objects):
            operation.on_step("binding the kept volume to a new claim")
            freed = {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}}
            self._kubectl.patch(f"persistentvolume/{names.volume}", names.namespace, freed)
        elif objects.provisioned and objects.volume is not None and objects.claim is None:
            self._provisioned.free(objects.volume, operation)
        if objects.deployment and not is_ours(objects.deployment):
            # Its strategy and PID 1 cannot be merged with ours. Its data and node port stay.
            self._kubectl.delete([f"deployment/{names.deployment}"], names.namespace)
            wait_ended(self._kubectl, names, objects.pods, operation.within(TIMEOUT))
        if objects.namespace and rendered.switched_off:
            self._kubectl.delete(rendered.switched_off, names.namespace)
        operation.on_step(
            "making the volume folder and applying the manifests" if in_folder else "applying the manifests"
        )
        # In this order: controllers must see the volume before the claim, and the Deployment last.
        volume = [] if objects.volume or rendered.volume is None else [rendered.volume]
        claim = [] if objects.claim else [rendered.claim]
        to_apply = [*volume, rendered.namespace, *claim, rendered.service, *rendered.policies, rendered.deployment]
        # With a preparation, the folder is on this host.
        tie = self._pin_to_node(objects) if preparation is not None else None
        trip = RoundTrip()
        folder = trip.add(preparation) if preparation else None
        for step in self._pin_steps(objects, tie) if in_folder else self._note_classes():
            trip.add(step)
        if is_marked_deleted(objects):
            trip.add(self._kubectl.annotate_step(f"namespace/{names.namespace}", names.namespace, DELETED_AT, None))
        is_custom = self._settings.templates is not None  # built-in templates need no validation
        applied = trip.add(self._kubectl.apply_step(to_apply, validate=is_custom))
        trip.add(lock.release_step(), required=False)
        self._kubectl.send(trip)
        lock.release()
        made = _as_applied(owner_objects(applied.result), objects, tie)
        files = (
            f"the files in {volume_folder(objects, names, self._settings.volume_root)}" if in_folder else "its files"
        )
        return made, recovery_notices(objects, files, kept=folder is not None and folder.result.kept)

    def _prepare_step(self, owner: Owner, objects: OwnerObjects, root_is_made: bool) -> Step[folders.Prepared] | None:
        """Return the step that makes the volume folder, or None if its name is not ours or it is on another node."""
        names = owner.names
        root, name = posixpath.split(volume_folder(objects, names, self._settings.volume_root))
        if name != names.namespace or not self._placement.is_here(objects.volume):
            return None
        expected = "folder" if objects.volume else "root" if root_is_made else ""
        record = owner_record(owner, self._settings.instance)
        return folders.prepare_step(root, name, record, expected, sudo=self._settings.sudo)

    def _pin_to_node(self, objects: OwnerObjects) -> Object | None:
        """Return the spec that pins an unpinned volume to its folder's node, or None if it needs none.

        A volume that was made when the cluster had one node is not pinned.
        """
        volume = objects.volume
        if volume is None or volume.spec.node_affinity.required.node_selector_terms:
            return None
        node = self._placement.folder_node()
        return {"nodeAffinity": node_affinity(node)} if node else None

    def _pin_steps(self, objects: OwnerObjects, tie: Object | None) -> Sequence[Step[Any]]:
        if tie is None or objects.volume is None:
            return []
        return [self._kubectl.patch_step(_volume_reference(objects.volume), "default", {"spec": tie})]

    def _note_classes(self) -> Sequence[Step[Any]]:
        """Return the step that records that the cluster may have provisioned volumes, if it is not recorded yet."""
        if self._reader.has_provisioned:
            return []
        return [self._kubectl.annotate_step(self._reader.lock_namespace, "default", PROVISIONED, "true")]

    def check_reach(self, objects: OwnerObjects, spec: PodSpec, operation: Operation) -> None:
        """Raise KubernetesError, with nothing changed, if a pod like SPEC cannot be started with its data."""
        in_folder = spec.storage_class is None
        if not in_folder and objects.volume is None and not is_bound(objects.claim):
            self._placement.check_class(str(spec.storage_class))
        grace = operation.within(self._settings.start_grace)
        self._placement.check_reach(objects.volume, grace, in_folder=in_folder)

    def retain(self, owner: Owner, objects: OwnerObjects) -> OwnerObjects:
        """Make a bound provisioned volume outlive its claim. Returns OBJECTS with the changed volume."""
        spec = storage_class(objects)
        if spec is None or (objects.volume is not None and is_retained(objects.volume, owner)):
            return objects
        pod = self._reader.pod(owner, objects)
        volume = self._provisioned.retain(
            owner, pod.conversation_id, pod.spec, volume=objects.volume, claim=objects.claim
        )
        return replace(objects, volume=volume)

    def try_retain(self, owner: Owner, objects: OwnerObjects) -> OwnerObjects:
        """Call `retain`, or return OBJECTS unchanged if it fails. For callers that only read."""
        try:
            return self.retain(owner, objects)
        except LfgpodsError as error:
            log.warning("the volume of %s is not retained yet: %s", owner, error.message)
            return objects

    def label(self, rendered: Manifests, objects: OwnerObjects) -> None:
        """Add the labels of RENDERED to objects that lfgpods did not make. Changes nothing else of them."""
        there = {obj.kind for obj in objects.existing}
        # The Deployment's labels, because the namespace's include a pod security level, which existing pods may not
        # meet.
        labels = rendered.deployment["metadata"]["labels"]
        metadata_only = [
            {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": {**obj["metadata"], "labels": labels}}
            for obj in rendered.objects
            if obj["kind"] in there
        ]
        running, node = ready_pod(objects.pods), self._placement.node_here()
        is_here = bool(running and node and running.spec.node_name == node.name)
        ties = self._pin_steps(objects, self._pin_to_node(objects) if is_here and rendered.volume else None)
        self._kubectl.apply(metadata_only, field_manager=LABEL_FIELD_MANAGER, before=ties)


def _as_applied(made: OwnerObjects, before: OwnerObjects, tie: Object | None) -> OwnerObjects:
    """MADE with the volume and claim from BEFORE, and without the Deployment's status, which is out of date."""
    from lfgpods.kube.objects import with_node_affinity, without_status  # loads msgspec

    kept = with_node_affinity(before.volume, tie["nodeAffinity"]) if before.volume and tie else before.volume
    return replace(
        made,
        volume=made.volume or kept,
        claim=made.claim or before.claim,
        deployment=made.deployment and without_status(made.deployment),
    )


def _is_bound_to_another(objects: OwnerObjects) -> bool:
    """Whether the volume is bound to a claim that is gone, even if a new claim has the same name."""
    bound_to = objects.volume.claim.uid if objects.volume else ""
    return bool(bound_to) and (objects.claim is None or objects.claim.metadata.uid != bound_to)


def _volume_reference(volume: PersistentVolume) -> str:
    return f"persistentvolume/{volume.metadata.name}"


def recovery_notices(before: OwnerObjects, files: str, *, kept: bool) -> tuple[str, ...]:
    """Notices about objects that were missing around a volume with FILES."""
    if before.volume is None and kept:
        return (f"the PersistentVolume was gone; {files} were found and are used again",)
    if before.volume is not None and before.namespace is None:
        return (f"the namespace was gone; the volume with {files} was bound again",)
    if before.volume is not None and before.claim is None:
        return (f"the claim was gone; the volume with {files} was bound again",)
    return ()
