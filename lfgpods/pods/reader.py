"""An owner's objects in the cluster and on the host: read together, applied, labelled, taken away.

Brings manifests, kubectl and volume folders together, and knows nothing of the store. Whatever changes an owner's
objects is called under its lock.
"""

from __future__ import annotations

import logging
import posixpath
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from lfgpods.core.errors import LfgpodsError
from lfgpods.core.owners import Owner, names_of
from lfgpods.core.pod import Pod
from lfgpods.core.settings import Settings
from lfgpods.core.spec import PodSpec
from lfgpods.hosts import Host
from lfgpods.kube.diagnosis import Snapshot, diagnose, has_ended, is_going, is_ours, newest_pod, nodes_matter, ready_pod
from lfgpods.kube.kubectl import LABEL_FIELD_MANAGER, Kubectl
from lfgpods.kube.labels import (
    DELETED_AT,
    PROVISIONED,
    SELECTOR,
    Object,
    is_managed,
    metadata,
    owner_record,
    read_owner,
)
from lfgpods.kube.nodes import affinity_to
from lfgpods.pods import manifests, rollout
from lfgpods.pods.lock import OwnerLock
from lfgpods.pods.manifests import Manifests
from lfgpods.pods.placement import Placement
from lfgpods.pods.remover import TIMEOUT, Removal, is_marked_deleted, not_the_owner
from lfgpods.pods.rollout import OnStep, still_running, wait_ended
from lfgpods.pods.status import group_by_namespace, pod_of, snapshot_of, storage_class, volume_folder
from lfgpods.volumes import folders
from lfgpods.volumes.provisioned import ProvisionedVolumes, is_kept

log = logging.getLogger(__name__)

_KINDS = ("pods", "deployments", "persistentvolumes", "services", "namespaces")
"""What tells of every owner's pod; the longest first, as they are listed side by side."""
FEW = 30
"""Owners up to which one kubectl for all of their objects is faster than one for each kind."""
_PRESENT = 2.0
"""Seconds for which what the nodes told of themselves counts as what they are now."""


class Cluster:
    """What kubectl on HOST can see and change of lfgpods' owners."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self.kubectl = Kubectl(host, settings.kubectl)
        self.placement = Placement(self.kubectl, host, settings)
        self.provisioned = ProvisionedVolumes(self.kubectl)
        self.removal = Removal(self.kubectl, host, settings, self.placement, self.provisioned)
        self._host = host
        self._settings = settings
        self._lock_namespace = f"namespace/{settings.lock_namespace}"
        self._has_provisioned = False
        """Whether the cluster says that a volume of a storage class may be there whose namespace is not."""

    def snapshot(self, owner: Owner, pod_name: str | None = None) -> Snapshot:
        """The owner's objects: one remote command, or two where the running pod is not the one called POD_NAME.

        Raises KubernetesError if the namespace says that it belongs to somebody else.
        """
        return self._snapshot(owner, self.kubectl.get(self._references(owner, pod_name), names_of(owner).namespace))

    @contextmanager
    def locked(
        self,
        owner: Owner,
        timeout: float,
        on_step: OnStep,
        *,
        pod_name: str | None = None,
        to_render: PodSpec | None = None,
    ) -> Iterator[tuple[OwnerLock, Snapshot]]:
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
            yield lock, self._snapshot(owner, lock.found)
        finally:
            lock.release()

    def _snapshot(self, owner: Owner, found: Sequence[Object]) -> Snapshot:
        names = names_of(owner)
        for obj in found:
            self._has_provisioned |= PROVISIONED in metadata(obj, "annotations")
        others = [obj for obj in found if obj["kind"] == "Namespace" and obj["metadata"]["name"] != names.namespace]
        snapshot = snapshot_of([obj for obj in found if obj not in others])
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

    def _with_nodes(self, *snapshots: Snapshot) -> list[Snapshot]:
        """SNAPSHOTS with the nodes where those may be why a pod does not run; one remote command, if any."""
        if not any(map(nodes_matter, snapshots)):
            return list(snapshots)
        nodes = self.placement.nodes(within=_PRESENT)
        return [replace(one, nodes=nodes) if nodes_matter(one) else one for one in snapshots]

    @property
    def _may_be_left_behind(self) -> bool:
        return self._has_provisioned or self._settings.defaults.storage_class is not None

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
        return references if self._lock_namespace in references else [self._lock_namespace, *references]

    def pod(self, owner: Owner, snapshot: Snapshot) -> Pod:
        settings = self._settings
        address = self._host.address
        return pod_of(owner, names_of(owner), snapshot, address, settings.defaults, settings.volume_root)

    def what_became_of(self, owner: Owner, pod_name: str) -> str | None:
        """In words, what happened to a pod that is not what it was; None where it still runs."""
        pods = self.snapshot(owner).pods
        pod = next((pod for pod in pods if pod["metadata"]["name"] == pod_name), None)
        diagnosis = diagnose(pod) if pod is not None and not is_going(pod) else None
        if diagnosis is not None and diagnosis.ready:
            return None
        if diagnosis is not None and diagnosis.error is not None:
            return f"ended ({diagnosis.error.message})"
        successor = newest_pod(one for one in pods if one is not pod and not is_going(one))
        return f"replaced by {successor['metadata']['name']}" if successor else "ended"

    def pods(self, expected: int) -> list[Pod]:
        """Every owner's pod and kept volume in the cluster, by namespace; about EXPECTED, or 0 where nobody knows."""
        known = []
        for namespace, objects in group_by_namespace(self.everything(_KINDS, expected)).items():
            snapshot = snapshot_of(objects)
            proof = snapshot.namespace or snapshot.volume
            owner = read_owner(proof) if proof else None
            if owner is not None and names_of(owner).namespace == namespace:
                known.append((owner, snapshot))
        snapshots = self._with_nodes(*(snapshot for _, snapshot in known))
        found = [self.pod(owner, snapshot) for (owner, _), snapshot in zip(known, snapshots, strict=True)]
        return sorted(found, key=lambda pod: pod.namespace)

    def everything(self, kinds: Sequence[str], expected: int) -> list[Object]:
        """What lfgpods reads of all objects of KINDS in the cluster that carry its label, of about EXPECTED owners."""
        return self.kubectl.get_everywhere(kinds, SELECTOR, few=0 < expected <= FEW)

    def settle(self, owner: Owner, snapshot: Snapshot, timeout: float, on_step: OnStep) -> Snapshot:
        """SNAPSHOT once nothing in it is on its way out any more, so that nothing new is made into its end."""
        names = names_of(owner)
        deadline = time.monotonic() + timeout
        while True:
            deletable = {
                f"deployment/{names.deployment}": snapshot.deployment,
                f"persistentvolumeclaim/{names.claim}": snapshot.claim,
                f"namespace/{names.namespace}": snapshot.namespace,
                # One that the cluster made stays whole for as long as it is bound, whatever is asked of it.
                f"persistentvolume/{names.volume}": None if snapshot.provisioned else snapshot.volume,
            }
            going = [reference for reference, obj in deletable.items() if is_going(obj)]
            abandoned = [] if snapshot.deployment else [pod for pod in snapshot.pods if not has_ended(pod)]
            if not going and not abandoned:
                return snapshot
            on_step("waiting for an earlier deletion to end")
            if is_going(snapshot.namespace):  # and all that is in it
                self.removal.remove_namespace(owner, snapshot, deadline - time.monotonic(), on_step)
                snapshot = self.snapshot(owner)
                continue
            if f"persistentvolume/{names.volume}" in going:
                # It waits for its claim, and that for the pod; its files stay.
                self.kubectl.delete([*deletable][:2], names.namespace)
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
        in_folder = spec.storage_class is None
        root = posixpath.dirname(volume_folder(snapshot, names, self._settings.volume_root)) if in_folder else "/"
        node = self.placement.folder_node() if in_folder and snapshot.volume is None else None
        kept = snapshot.volume["metadata"]["name"] if snapshot.volume and snapshot.provisioned else None
        return manifests.render(
            owner,
            names,
            spec,
            volume_root=root,
            conversation_id=conversation_id,
            templates=self._settings.templates,
            hardening=self._settings.hardening,
            pod_cidrs=self.placement.networks,
            affinity=affinity_to(node) if node else None,
            kept_volume=kept,
        )

    def apply(
        self,
        owner: Owner,
        drawn: Manifests,
        snapshot: Snapshot,
        lock: OwnerLock,
        on_step: OnStep,
        *,
        root_is_made: bool = False,
    ) -> tuple[Snapshot, tuple[str, ...]]:
        """Make the folder, and apply DRAWN but for a volume or claim that is there: those are never specified anew.

        Gives LOCK back with that. ROOT_IS_MADE says that there are other volumes in the volume root, which then is
        not made anew.
        Returns what is there then, and what was found of an earlier pod that something else took apart, in words.
        """
        names = names_of(owner)
        in_folder = drawn.volume is not None
        preparation = self._preparation(owner, snapshot, root_is_made) if in_folder else None
        if in_folder and _is_bound_to_another(snapshot):
            on_step("giving the kept volume to a new claim")
            freed = {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}}
            self.kubectl.patch(f"persistentvolume/{names.volume}", names.namespace, freed)
        elif snapshot.provisioned and snapshot.volume is not None and snapshot.claim is None:
            self.provisioned.free(snapshot.volume, on_step)
        if snapshot.deployment and not is_ours(snapshot.deployment):
            # Its strategy and its PID 1 are not ours to merge with; its data and its node port stay.
            self.kubectl.delete([f"deployment/{names.deployment}"], names.namespace)
            wait_ended(self.kubectl, names, snapshot.pods, TIMEOUT, on_step)
        if snapshot.namespace and drawn.switched_off:
            self.kubectl.delete(drawn.switched_off, names.namespace)
        on_step("making the volume folder and applying the manifests" if in_folder else "applying the manifests")
        # The volume as early and the Deployment as late as can be: each may only be seen after the one before.
        volume = [] if snapshot.volume or drawn.volume is None else [drawn.volume]
        claim = [] if snapshot.claim else [drawn.claim]
        objects = [*volume, drawn.namespace, *claim, drawn.service, *drawn.policies, drawn.deployment]
        tie = self._tie(snapshot) if preparation is not None else None  # which sees to it that the folder is here
        before = self._tie_commands(snapshot, tie) if in_folder else self._note_classes()
        if is_marked_deleted(snapshot):
            before.append(self.kubectl.annotation(f"namespace/{names.namespace}", names.namespace, DELETED_AT, None))
        by_hand = self._settings.templates is not None  # those that lfgpods ships are known to be valid
        then = lock.release_command
        applied = self.kubectl.apply(objects, validate=by_hand, first=preparation, after=before, then=then)
        lock.released()
        made = snapshot_of(applied)
        if made.deployment is not None:
            made.deployment["status"] = {}  # it is that of the pods before
        kept = snapshot.volume and {**snapshot.volume, "spec": {**snapshot.volume["spec"], **(tie or {})}}
        made = replace(made, volume=made.volume or kept, claim=made.claim or snapshot.claim)
        files = (
            f"the files in {volume_folder(snapshot, names, self._settings.volume_root)}" if in_folder else "its files"
        )
        return made, _found_again(snapshot, files, kept=preparation is not None and preparation.kept)

    def _preparation(self, owner: Owner, snapshot: Snapshot, root_is_made: bool) -> folders.Preparation | None:
        """The step that makes the volume folder; None where that is somebody's own arrangement, or another node's."""
        names = names_of(owner)
        root, name = posixpath.split(volume_folder(snapshot, names, self._settings.volume_root))
        if name != names.namespace or not self.placement.is_here(snapshot.volume):
            return None
        expected = "folder" if snapshot.volume else "root" if root_is_made else ""
        return folders.Preparation(root, name, owner_record(owner), expected, sudo=self._settings.sudo)

    def _tie(self, snapshot: Snapshot) -> Object | None:
        """What ties a volume of a time with one node to the node that its folder is on; None where that is not due."""
        volume = snapshot.volume
        if volume is None or volume["spec"].get("nodeAffinity"):
            return None
        node = self.placement.folder_node()
        return {"nodeAffinity": affinity_to(node)} if node else None

    def _tie_commands(self, snapshot: Snapshot, tie: Object | None) -> list[tuple[str, ...]]:
        if tie is None or snapshot.volume is None:
            return []
        return [self.kubectl.patch_command(_volume_reference(snapshot.volume), "default", {"spec": tie})]

    def _note_classes(self) -> list[tuple[str, ...]]:
        """The command that notes that there are volumes of storage classes from now on, where that is not noted."""
        if self._has_provisioned:
            return []
        return [self.kubectl.annotation(self._lock_namespace, "default", PROVISIONED, "true")]

    def check_reach(self, snapshot: Snapshot, spec: PodSpec, on_step: OnStep) -> None:
        """Raise KubernetesError, with nothing changed, where no pod like SPEC could be started with its data."""
        in_folder = spec.storage_class is None
        if not in_folder and snapshot.volume is None and not is_bound(snapshot.claim):
            self.placement.check_class(str(spec.storage_class))
        self.placement.check_reach(snapshot.volume, in_folder=in_folder, grace=rollout.GRACE, on_step=on_step)

    def keep(self, owner: Owner, snapshot: Snapshot) -> Snapshot:
        """SNAPSHOT, with a volume that the cluster made and that from now on outlives its claim, if it is bound yet."""
        spec = storage_class(snapshot)
        if spec is None or (snapshot.volume is not None and is_kept(snapshot.volume, owner)):
            return snapshot
        pod = self.pod(owner, snapshot)
        return replace(snapshot, volume=self.provisioned.keep(owner, pod.conversation_id, pod.spec, snapshot))

    def keep_if_possible(self, owner: Owner, snapshot: Snapshot) -> Snapshot:
        """What `keep` returns, or SNAPSHOT as it is where that is refused: for those who only look."""
        try:
            return self.keep(owner, snapshot)
        except LfgpodsError as error:
            log.warning("the volume of %s is not kept yet: %s", owner, error.message)
            return snapshot

    def label(self, drawn: Manifests, snapshot: Snapshot) -> None:
        """Put the labels of DRAWN on objects that something else made, and leave the rest of them as it is."""
        there = {obj["kind"] for obj in snapshot.objects}
        # The Deployment's labels are lfgpods' own and nothing more: the level of security that a new namespace
        # demands is not for what already runs in this one.
        labels = drawn.deployment["metadata"]["labels"]
        metadata_only = [
            {"apiVersion": obj["apiVersion"], "kind": obj["kind"], "metadata": {**obj["metadata"], "labels": labels}}
            for obj in drawn.objects
            if obj["kind"] in there
        ]
        running, node = ready_pod(snapshot.pods), self.placement.node_here()
        is_here = bool(running and node and running["spec"].get("nodeName") == node.name)
        ties = self._tie_commands(snapshot, self._tie(snapshot) if is_here and drawn.volume else None)
        self.kubectl.apply(metadata_only, field_manager=LABEL_FIELD_MANAGER, after=ties)

    def folders(self, *, name: str | None = None, measured: bool = False) -> list[folders.Folder]:
        """The volume folders on the host, or the one called NAME; with MEASURED their sizes and last changes too."""
        root, sudo = self._settings.volume_root, self._settings.sudo
        return folders.survey(self._host, root, name=name, measured=measured, sudo=sudo)


def _is_bound_to_another(snapshot: Snapshot) -> bool:
    """Whether the volume waits for a claim that is gone, also where there is a new one of the same name."""
    bound_to = ((snapshot.volume or {}).get("spec") or {}).get("claimRef") or {}
    return bool(bound_to.get("uid")) and (
        snapshot.claim is None or snapshot.claim["metadata"].get("uid") != bound_to["uid"]
    )


def _volume_reference(volume: Object) -> str:
    return f"persistentvolume/{volume['metadata']['name']}"


def is_bound(claim: Object | None) -> bool:
    """Whether CLAIM is there and has a volume."""
    return claim is not None and bool(claim["spec"].get("volumeName"))


def _found_again(before: Snapshot, files: str, *, kept: bool) -> tuple[str, ...]:
    """What somebody else had taken away of a volume with FILES, in words."""
    if before.volume is None and kept:
        return (f"the PersistentVolume was gone; {files} were found and are used again",)
    if before.volume is not None and before.namespace is None:
        return (f"the namespace was gone; the volume with {files} was bound again",)
    if before.volume is not None and before.claim is None:
        return (f"the claim was gone; the volume with {files} was bound again",)
    return ()
