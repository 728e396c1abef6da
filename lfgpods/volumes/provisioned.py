"""Volumes that the cluster makes by a storage class: finds, retains, frees and purges them.

The cluster names such a volume. It is found by the claim that is bound to it or, once that is gone, by lfgpods' labels.
"""

from __future__ import annotations

import threading
import uuid
from typing import TYPE_CHECKING

from lfgpods.core.errors import KubernetesError, TimeLimitError
from lfgpods.core.objects import Object
from lfgpods.core.operation import Operation
from lfgpods.core.owners import Owner
from lfgpods.core.spec import PodSpec
from lfgpods.kube.diagnosis import is_terminating
from lfgpods.kube.kinds import of_kind
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.labels import (
    OWNER,
    OWNER_KIND,
    PURGING,
    annotation,
    annotations_for,
    labels_for,
    read_owner,
    selector,
)

if TYPE_CHECKING:
    from lfgpods.kube.objects import PersistentVolume, PersistentVolumeClaim

_POLL = 0.2
AVAILABLE_WITHIN = 30.0
"""How long a freed volume may take to become available, in seconds."""


def is_retained(volume: PersistentVolume, owner: Owner) -> bool:
    """Whether VOLUME is marked as OWNER's and outlives its claim."""
    return read_owner(volume) == owner and volume.spec.persistent_volume_reclaim_policy == "Retain"


class ProvisionedVolumes:
    """Finds and changes the volumes that the cluster made."""

    def __init__(self, kubectl: Kubectl, instance: str | None = None) -> None:
        self._kubectl = kubectl
        self._instance = instance

    def of_claim(self, claim: PersistentVolumeClaim) -> PersistentVolume | None:
        """The volume that CLAIM is bound to."""
        return self._get(claim.spec.volume_name) if claim.spec.volume_name else None

    def left_behind(self, owner: Owner) -> PersistentVolume | None:
        """The volume of OWNER whose claim is gone. Raises KubernetesError if there are two: lfgpods must not guess."""
        names = owner.names
        labels = f"{selector(self._instance)},{OWNER_KIND}={owner.kind},{OWNER}={names.slug}"
        found = [
            volume
            for volume in of_kind(self._kubectl.get_all("persistentvolumes", labels), "PersistentVolume")
            if read_owner(volume) == owner
            and (volume.claim.namespace, volume.claim.name) == (names.namespace, names.claim)
        ]
        if len(found) > 1:
            both = " and ".join(sorted(volume.metadata.name for volume in found))
            raise KubernetesError(
                f"the PersistentVolumes {both} are both marked as the volume of {owner}",
                "Nothing was changed. Look which one has the files, and take lfgpods' labels off the other.",
                code="ambiguous_volume",
            )
        return found[0] if found else None

    def retain(
        self,
        owner: Owner,
        conversation_id: str | None,
        spec: PodSpec,
        *,
        volume: PersistentVolume | None,
        claim: PersistentVolumeClaim | None,
    ) -> PersistentVolume | None:
        """Mark the VOLUME of CLAIM as OWNER's, and make it outlive CLAIM. Returns it, or None if none is bound.

        A volume that is being purged stays as it is.
        """
        names = owner.names
        if volume is not None and (is_retained(volume, owner) or annotation(volume, PURGING) is not None):
            return volume
        if claim is not None and not claim.spec.volume_name:
            found = self._kubectl.get([f"persistentvolumeclaim/{names.claim}"], names.namespace)
            claim = next(iter(of_kind(found, "PersistentVolumeClaim")), None)
        if claim is None or not claim.spec.volume_name:
            return volume
        ours: Object = {
            "metadata": {
                "labels": labels_for(owner, names, self._instance),
                "annotations": annotations_for(owner, conversation_id, spec),
            },
            "spec": {"persistentVolumeReclaimPolicy": "Retain"},
        }
        return self._patch(claim.spec.volume_name, ours)

    def free(self, volume: PersistentVolume, operation: Operation) -> None:
        """Free VOLUME, whose claim is gone, for the next claim of the same name.

        Waits until the volume is available: a claim that is made earlier is bound only at the next resync, 15 seconds
        later. Raises TimeLimitError after AVAILABLE_WITHIN seconds.
        """
        name = volume.metadata.name
        operation.on_step("binding the kept volume to a new claim")
        now: PersistentVolume | None = volume
        if volume.claim.uid:
            now = self._patch(name, {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}})
        waiting = operation.within(AVAILABLE_WITHIN)
        while now is None or now.status.phase != "Available":
            if waiting.expired:
                raise TimeLimitError(
                    f"the PersistentVolume {name} did not become free within {AVAILABLE_WITHIN:g} s",
                    f"The files are kept. See kubectl describe pv {name}; then create again.",
                )
            threading.Event().wait(_POLL)
            now = self._get(name)

    def begin_purge(self, volume: PersistentVolume) -> None:
        """Make the provisioner remove VOLUME, with its disk, as soon as its claim is gone."""
        spec: Object = {"persistentVolumeReclaimPolicy": "Delete"}
        if not volume.claim.uid:
            # The volume was freed for a claim that never came. Kubernetes deletes a volume only after its claim is
            # gone, so it is given a claim that does not exist.
            spec["claimRef"] = {"uid": str(uuid.uuid4())}
        self._patch(volume.metadata.name, {"metadata": {"annotations": {PURGING: "true"}}, "spec": spec})

    def end_purge(self, volume: PersistentVolume, operation: Operation) -> None:
        """Wait until VOLUME is gone. Raises TimeLimitError with what remains."""
        name = volume.metadata.name
        operation.on_step("waiting for the disk to be removed")
        while now := self._get(name):
            if now.spec.persistent_volume_reclaim_policy != "Delete" and not is_terminating(now):
                self.begin_purge(now)  # another caller retained it meanwhile, too late
            if operation.expired:
                told = ": ".join(filter(None, (now.status.phase, now.status.message)))
                raise TimeLimitError(
                    f"the namespace is gone, but the PersistentVolume {name} with its disk is still there ({told})",
                    f"Its provisioner has to remove it; see kubectl describe pv {name}. Purge again to look again.",
                )
            threading.Event().wait(_POLL)

    def undo_purge(self, volume: PersistentVolume) -> None:
        """Retain VOLUME after all, although a purge has begun."""
        kept: Object = {
            "metadata": {"annotations": {PURGING: None}},
            "spec": {"persistentVolumeReclaimPolicy": "Retain"},
        }
        self._patch(volume.metadata.name, kept)

    def _get(self, name: str) -> PersistentVolume | None:
        found = self._kubectl.get([f"persistentvolume/{name}"], "default")
        return next(iter(of_kind(found, "PersistentVolume")), None)

    def _patch(self, name: str, patch: Object) -> PersistentVolume | None:
        patched = self._kubectl.patch(f"persistentvolume/{name}", "default", patch)
        return next(iter(of_kind([patched], "PersistentVolume")), None)
