"""Volumes that the cluster makes by a storage class: found again, kept, bound again, and given up by a purge.

The cluster names them, so they are known by the claim that is bound to them, or by lfgpods' labels once it is gone.
"""

from __future__ import annotations

import threading
import uuid

from lfgpods.core.errors import KubernetesError, TimeLimitError
from lfgpods.core.objects import Object, metadata
from lfgpods.core.operation import Operation
from lfgpods.core.owners import Owner, names_of
from lfgpods.core.spec import PodSpec
from lfgpods.kube.diagnosis import is_terminating
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.labels import OWNER, OWNER_KIND, PURGING, annotations_for, labels_for, read_owner, selector

_POLL = 0.2
AVAILABLE_WITHIN = 30.0


def is_retained(volume: Object, owner: Owner) -> bool:
    """Whether VOLUME says that it is OWNER's, and outlives its claim."""
    return read_owner(volume) == owner and volume["spec"].get("persistentVolumeReclaimPolicy") == "Retain"


class ProvisionedVolumes:
    """The cluster's own volumes, as kubectl finds and changes them."""

    def __init__(self, kubectl: Kubectl, instance: str | None = None) -> None:
        self._kubectl = kubectl
        self._instance = instance

    def of_claim(self, claim: Object) -> Object | None:
        """The volume that CLAIM is bound to."""
        name, home = claim["spec"].get("volumeName"), claim["metadata"].get("namespace", "")
        found = self._kubectl.get([f"persistentvolume/{name}"], home) if name else []
        return next(iter(found), None)

    def left_behind(self, owner: Owner) -> Object | None:
        """The volume of OWNER whose claim is gone. Raises KubernetesError where there are two, as one must not win."""
        names = names_of(owner)
        labels = f"{selector(self._instance)},{OWNER_KIND}={owner.kind},{OWNER}={names.slug}"
        found = [
            volume
            for volume in self._kubectl.get_all("persistentvolumes", labels)
            if read_owner(volume) == owner and _claimed_from(volume) == (names.namespace, names.claim)
        ]
        if len(found) > 1:
            both = " and ".join(sorted(volume["metadata"]["name"] for volume in found))
            raise KubernetesError(
                f"the PersistentVolumes {both} both say that they are of {owner}",
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
        volume: Object | None,
        claim: Object | None,
    ) -> Object | None:
        """Label the VOLUME of CLAIM as OWNER's, and have it outlive its claim. Returns it, or None if none is bound.

        A volume that is being purged stays as it is.
        """
        names = names_of(owner)
        if volume is not None and (is_retained(volume, owner) or PURGING in metadata(volume, "annotations")):
            return volume
        if claim is not None and not claim["spec"].get("volumeName"):
            claim = next(iter(self._kubectl.get([f"persistentvolumeclaim/{names.claim}"], names.namespace)), None)
        if claim is None or not claim["spec"].get("volumeName"):
            return volume
        ours: Object = {
            "metadata": {
                "labels": labels_for(owner, names, self._instance),
                "annotations": annotations_for(owner, conversation_id, spec),
            },
            "spec": {"persistentVolumeReclaimPolicy": "Retain"},
        }
        return self._kubectl.patch(f"persistentvolume/{claim['spec']['volumeName']}", names.namespace, ours)

    def free(self, volume: Object, operation: Operation) -> None:
        """Have VOLUME, whose claim is gone, wait for the next claim of the same name.

        A claim that names a volume which the binder does not know to be free yet waits for a resync of 15 seconds.
        """
        name = volume["metadata"]["name"]
        operation.on_step("giving the kept volume to a new claim")
        if (volume["spec"].get("claimRef") or {}).get("uid"):
            freed = {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}}
            volume = self._kubectl.patch(f"persistentvolume/{name}", "default", freed)
        waiting = operation.within(AVAILABLE_WITHIN)
        while (volume.get("status") or {}).get("phase") != "Available":
            if waiting.expired:
                raise TimeLimitError(
                    f"the PersistentVolume {name} did not become free within {AVAILABLE_WITHIN:g} s",
                    f"The files are kept. See kubectl describe pv {name}; then create again.",
                )
            threading.Event().wait(_POLL)
            volume = next(iter(self._kubectl.get([f"persistentvolume/{name}"], "default")), {})

    def begin_purge(self, volume: Object) -> None:
        """Have the provisioner remove VOLUME, with its disk, as soon as its claim is gone."""
        spec: Object = {"persistentVolumeReclaimPolicy": "Delete"}
        if not (volume["spec"].get("claimRef") or {}).get("uid"):
            # It was freed for a claim that never came. Kubernetes gives up only what had one, such as one that is gone.
            spec["claimRef"] = {"uid": str(uuid.uuid4())}
        begun = {"metadata": {"annotations": {PURGING: "true"}}, "spec": spec}
        self._kubectl.patch(f"persistentvolume/{volume['metadata']['name']}", "default", begun)

    def end_purge(self, volume: Object, operation: Operation) -> None:
        """Wait until VOLUME is gone. Raises TimeLimitError that says what remains."""
        name = volume["metadata"]["name"]
        operation.on_step("waiting for the disk to be removed")
        while found := self._kubectl.get([f"persistentvolume/{name}"], "default"):
            now = found[0]
            if now["spec"].get("persistentVolumeReclaimPolicy") != "Delete" and not is_terminating(now):
                self.begin_purge(now)  # somebody kept it meanwhile, who came too late
            if operation.expired:
                status = now.get("status") or {}
                told = ": ".join(filter(None, (status.get("phase"), status.get("message"))))
                raise TimeLimitError(
                    f"the namespace is gone, but the PersistentVolume {name} with its disk is still there ({told})",
                    f"Its provisioner has to remove it; see kubectl describe pv {name}. Purge again to look again.",
                )
            threading.Event().wait(_POLL)

    def undo_purge(self, volume: Object) -> None:
        """Keep VOLUME after all, which a purge has begun to give up."""
        kept: Object = {
            "metadata": {"annotations": {PURGING: None}},
            "spec": {"persistentVolumeReclaimPolicy": "Retain"},
        }
        self._kubectl.patch(f"persistentvolume/{volume['metadata']['name']}", "default", kept)


def _claimed_from(volume: Object) -> tuple[str | None, str | None]:
    claim = volume["spec"].get("claimRef") or {}
    return claim.get("namespace"), claim.get("name")
