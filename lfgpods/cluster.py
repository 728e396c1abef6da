"""An owner's objects in the cluster and on the host: read together, applied, labelled, taken away.

Brings manifests, kubectl and volume folders together, and knows nothing of the store. Whatever changes an owner's
objects is called under its lock.
"""

from __future__ import annotations

import ipaddress
import posixpath
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

from lfgpods import manifests, volumes
from lfgpods.errors import KubernetesError
from lfgpods.hosts import Host
from lfgpods.kubectl import LABEL_FIELD_MANAGER, Kubectl
from lfgpods.labels import DELETED_AT, SELECTOR, Object, is_managed, metadata, owner_record, read_owner
from lfgpods.lock import OwnerLock
from lfgpods.manifests import Manifests
from lfgpods.naming import Names, Owner, names_of
from lfgpods.observe import group_by_namespace, pod_of, snapshot_of, volume_folder
from lfgpods.pod import Pod
from lfgpods.removal import TIMEOUT, Removal, not_the_owner
from lfgpods.rollout import OnStep, still_running, wait_ended
from lfgpods.settings import Settings
from lfgpods.spec import PodSpec
from lfgpods.state import Snapshot, diagnose, has_ended, is_going, is_ours, newest_pod, ready_pod

_KINDS = ("pods", "deployments", "persistentvolumes", "services", "namespaces")
"""What tells of every owner's pod; the longest first, as they are listed side by side."""
FEW = 30
"""Owners up to which one kubectl for all of their objects is faster than one for each kind."""


class Cluster:
    """What kubectl on HOST can see and change of lfgpods' owners."""

    def __init__(self, host: Host, settings: Settings) -> None:
        self.kubectl = Kubectl(host, settings.kubectl)
        self.removal = Removal(self.kubectl, host, settings)
        self._host = host
        self._settings = settings
        hardening = settings.hardening
        self._networks = hardening.pod_cidrs or (None if hardening.network_policy else ())

    def snapshot(self, owner: Owner, pod_name: str | None = None) -> Snapshot:
        """The owner's objects: one remote command, or two where the running pod is not the one called POD_NAME.

        Raises KubernetesError if the namespace says that it belongs to somebody else.
        """
        names = names_of(owner)
        return self._snapshot(owner, self.kubectl.get(_references(names, pod_name), names.namespace))

    @contextmanager
    def locked(
        self, owner: Owner, timeout: float, on_step: OnStep, *, pod_name: str | None = None, to_render: bool = False
    ) -> Iterator[tuple[OwnerLock, Snapshot]]:
        """The lock of OWNER, and its objects as they are once it is held; both in one remote command.

        With TO_RENDER that command also finds out what `render` has to know of the cluster.
        Raises TimeLimitError where somebody else holds the lock for longer than TIMEOUT seconds.
        """
        names = names_of(owner)
        ask = to_render and self._networks is None
        lock = OwnerLock(
            self.kubectl,
            names,
            _references(names, pod_name),
            namespace=self._settings.lock_namespace,
            timeout=timeout,
            on_step=on_step,
            after=[self.kubectl.pod_networks_command()] if ask else (),
        )
        try:
            lock.take()
        except KubernetesError as error:
            if not (ask and error.code == "forbidden" and "nodes" in error.message):
                raise
            self._networks = ()
            lock.after = ()
            lock.take()
        try:
            if self._networks is None and lock.said is not None:
                self._networks = _networks(lock.said)
            yield lock, self._snapshot(owner, lock.found)
        finally:
            lock.release()

    def _snapshot(self, owner: Owner, found: Sequence[Object]) -> Snapshot:
        names = names_of(owner)
        snapshot = snapshot_of(found)
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
        return snapshot

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
        found = []
        for namespace, objects in group_by_namespace(self.everything(_KINDS, expected)).items():
            snapshot = snapshot_of(objects)
            proof = snapshot.namespace or snapshot.volume
            owner = read_owner(proof) if proof else None
            if owner is not None and names_of(owner).namespace == namespace:
                found.append(self.pod(owner, snapshot))
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
                f"persistentvolume/{names.volume}": snapshot.volume,
            }
            going = [reference for reference, obj in deletable.items() if is_going(obj)]
            abandoned = [] if snapshot.deployment else [pod for pod in snapshot.pods if not has_ended(pod)]
            if not going and not abandoned:
                return snapshot
            on_step("waiting for an earlier deletion to end")
            if is_going(snapshot.volume):  # it waits for its claim, and that for the pod; its files stay
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
        root = posixpath.dirname(volume_folder(snapshot, names, self._settings.volume_root))
        if self._networks is None:
            self._networks = _networks(self.kubectl.pod_networks())
        return manifests.render(
            owner,
            names,
            spec,
            volume_root=root,
            conversation_id=conversation_id,
            templates=self._settings.templates,
            hardening=self._settings.hardening,
            pod_cidrs=self._networks,
        )

    def apply(
        self, owner: Owner, drawn: Manifests, snapshot: Snapshot, on_step: OnStep, *, root_is_made: bool = False
    ) -> tuple[Snapshot, tuple[str, ...]]:
        """Make the folder, and apply DRAWN but for a volume or claim that is there: those are never specified anew.

        ROOT_IS_MADE says that there are other volumes in the volume root, which then is not made anew.
        Returns what is there then, and what was found of an earlier pod that something else took apart, in words.
        """
        names = names_of(owner)
        folder = volume_folder(snapshot, names, self._settings.volume_root)
        root, name = posixpath.split(folder)
        preparation = None
        if name == names.namespace:  # a folder of another name is somebody's own arrangement
            expected = "folder" if snapshot.volume else "root" if root_is_made else ""
            preparation = volumes.Preparation(root, name, owner_record(owner), expected, sudo=self._settings.sudo)
        if _is_bound_to_another(snapshot):
            on_step("giving the kept volume to a new claim")
            freed = {"spec": {"claimRef": {"uid": None, "resourceVersion": None}}}
            self.kubectl.patch(f"persistentvolume/{names.volume}", names.namespace, freed)
        if snapshot.deployment and not is_ours(snapshot.deployment):
            # Its strategy and its PID 1 are not ours to merge with; its data and its node port stay.
            self.kubectl.delete([f"deployment/{names.deployment}"], names.namespace)
            wait_ended(self.kubectl, names, snapshot.pods, TIMEOUT, on_step)
        if snapshot.namespace and drawn.switched_off:
            self.kubectl.delete(drawn.switched_off, names.namespace)
        on_step("making the volume folder and applying the manifests")
        # The volume as early and the Deployment as late as can be: each may only be seen after the one before.
        volume = [] if snapshot.volume else [drawn.volume]
        claim = [] if snapshot.claim else [drawn.claim]
        objects = [*volume, drawn.namespace, *claim, drawn.service, *drawn.policies, drawn.deployment]
        noted = [] if DELETED_AT not in metadata(snapshot.namespace, "annotations") else [DELETED_AT]
        gone = [self.kubectl.annotation(f"namespace/{names.namespace}", names.namespace, key, None) for key in noted]
        by_hand = self._settings.templates is not None  # those that lfgpods ships are known to be valid
        made = snapshot_of(self.kubectl.apply(objects, validate=by_hand, first=preparation, after=gone))
        if made.deployment is not None:
            made.deployment["status"] = {}  # it is that of the pods before
        made = replace(made, volume=made.volume or snapshot.volume, claim=made.claim or snapshot.claim)
        return made, _found_again(snapshot, folder, kept=preparation is not None and preparation.kept)

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
        self.kubectl.apply(metadata_only, field_manager=LABEL_FIELD_MANAGER)

    def folders(self, *, name: str | None = None, measured: bool = False) -> list[volumes.Folder]:
        """The volume folders on the host, or the one called NAME; with MEASURED their sizes and last changes too."""
        root, sudo = self._settings.volume_root, self._settings.sudo
        return volumes.survey(self._host, root, name=name, measured=measured, sudo=sudo)


def _is_bound_to_another(snapshot: Snapshot) -> bool:
    """Whether the volume waits for a claim that is gone, also where there is a new one of the same name."""
    bound_to = ((snapshot.volume or {}).get("spec") or {}).get("claimRef") or {}
    return bool(bound_to.get("uid")) and (
        snapshot.claim is None or snapshot.claim["metadata"].get("uid") != bound_to["uid"]
    )


def _references(names: Names, pod_name: str | None) -> list[str]:
    return [
        f"namespace/{names.namespace}",
        f"persistentvolume/{names.volume}",
        f"persistentvolumeclaim/{names.claim}",
        f"deployment/{names.deployment}",
        f"service/{names.service}",
        *([f"pod/{pod_name}"] if pod_name else []),
    ]


def _networks(text: str) -> tuple[str, ...]:
    """The networks in TEXT, without what is none."""
    found = []
    for word in text.split():
        with suppress(ValueError):
            found.append(str(ipaddress.ip_network(word)))
    return tuple(dict.fromkeys(found))


def _found_again(before: Snapshot, folder: str, *, kept: bool) -> tuple[str, ...]:
    """What somebody else had taken away of a volume, in words."""
    if before.volume is None and kept:
        return (f"the PersistentVolume was gone; the files in {folder} were found and are used again",)
    if before.volume is not None and before.namespace is None:
        return (f"the namespace was gone; the volume with the files in {folder} was bound again",)
    if before.volume is not None and before.claim is None:
        return (f"the claim was gone; the volume with the files in {folder} was bound again",)
    return ()
