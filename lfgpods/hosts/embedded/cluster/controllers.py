"""The controllers: volumes and claims find each other, Deployments get pods, what is deleted goes. Without a daemon.

`advance` is run whenever somebody looks: it brings the world forward by the clock and by what became of processes.
"""

from __future__ import annotations

import hashlib
import json

from lfgpods.core.objects import Object
from lfgpods.hosts.embedded.cluster import provisioner
from lfgpods.hosts.embedded.cluster.kinds import CLAIM, DEPLOYMENT, NAMESPACE, POD, VOLUME
from lfgpods.hosts.embedded.cluster.kubelet import Kubelet, delete_pod, new_status
from lfgpods.hosts.embedded.cluster.objects import Record, World, copied, suffix

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def advance(world: World, kubelet: Kubelet) -> None:
    """Bring everything one step forward."""
    for claim in world.all(CLAIM):
        provisioner.provision(world, claim, kubelet.provisioned)
    for volume in world.all(VOLUME):
        _bind(world, volume)
        provisioner.reclaim(world, volume)
    for claim in world.all(CLAIM):
        _watch_claim(world, claim)
    for deployment in world.all(DEPLOYMENT):
        _roll_out(world, deployment)
    for pod in world.all(POD):
        kubelet.advance(world, pod)
        if pod.private.get("deployment") and not pod.going:
            owner = next((d for d in world.all(DEPLOYMENT, pod.namespace) if d.uid == pod.private["deployment"]), None)
            if owner is None or (owner.going and "foregroundDeletion" in owner.obj["metadata"].get("finalizers", [])):
                delete_pod(world, pod)
    for deployment in world.all(DEPLOYMENT):
        _report(world, deployment)
    for namespace in world.all(NAMESPACE):
        if namespace.going:
            _empty(world, namespace)


def delete(world: World, record: Record, *, foreground: bool = False, grace: int | None = None) -> None:
    """Begin to delete RECORD as the API server does; what needs nobody's leave is gone at once."""
    if record.kind is POD:
        if record.going and grace == 0:
            record.private["kill_at"] = world.now
        delete_pod(world, record, grace)
    elif record.kind is NAMESPACE:
        record.obj["metadata"].setdefault("deletionTimestamp", world.time)
        record.obj["status"]["phase"] = "Terminating"
    elif record.kind is DEPLOYMENT and foreground and _pods_of(world, record):
        record.obj["metadata"].setdefault("deletionGracePeriodSeconds", 0)
        record.obj["metadata"].setdefault("deletionTimestamp", world.time)
        record.obj["metadata"]["finalizers"] = ["foregroundDeletion"]
    elif record.obj["metadata"].get("finalizers"):
        record.obj["metadata"].setdefault("deletionGracePeriodSeconds", 0)
        record.obj["metadata"].setdefault("deletionTimestamp", world.time)
    else:
        world.remove(record)


def template_hash(deployment: Record) -> str:
    """The name of this state of the template, as its pods carry it."""
    digest = hashlib.sha256(json.dumps(deployment.obj["spec"]["template"], sort_keys=True).encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:10])


def _bind(world: World, volume: Record) -> None:
    reference = volume.obj["spec"].get("claimRef")
    status = volume.obj["status"]
    claim = world.find(CLAIM, reference["namespace"], reference["name"]) if reference else None
    if reference is None:
        status["phase"] = "Available"
    elif reference.get("uid") and (claim is None or claim.uid != reference["uid"]):
        status["phase"] = "Released"
    elif reference.get("uid") and status["phase"] == "Bound":
        pass
    elif claim is None or claim.going or claim.obj["spec"].get("volumeName") not in (None, volume.name):
        status["phase"] = "Available"
    elif not volume.going:
        reference.update(uid=claim.uid, resourceVersion=claim.obj["metadata"]["resourceVersion"])
        status["phase"] = "Bound"
        claim.obj["spec"]["volumeName"] = volume.name
        claim.obj["metadata"].setdefault("annotations", {}).update(
            {"pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes"}
        )
        claim.obj["status"] = {
            "accessModes": volume.obj["spec"]["accessModes"],
            "capacity": volume.obj["spec"]["capacity"],
            "phase": "Bound",
        }
    if volume.going and status["phase"] != "Bound":
        world.remove(volume)


def _watch_claim(world: World, claim: Record) -> None:
    spec, status = claim.obj["spec"], claim.obj["status"]
    if status["phase"] == "Bound" and world.find(VOLUME, "", spec["volumeName"]) is None:
        status["phase"] = "Lost"
        world.event(
            claim,
            "Warning",
            "ClaimLost",
            "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
            _VOLUMES,
        )
    if status["phase"] == "Pending" and not claim.going:
        told = f'storageclass.storage.k8s.io "{spec.get("storageClassName", "")}" not found'
        world.event(claim, "Warning", "ProvisioningFailed", told, _VOLUMES, repeat=False)
    if claim.going and not any(_uses(pod, claim) for pod in world.all(POD, claim.namespace)):
        world.remove(claim)


_VOLUMES: Object = {"component": "persistentvolume-controller"}


def _uses(pod: Record, claim: Record) -> bool:
    volumes = pod.obj["spec"].get("volumes") or []
    return any((volume.get("persistentVolumeClaim") or {}).get("claimName") == claim.name for volume in volumes)


def _pods_of(world: World, deployment: Record) -> list[Record]:
    return [pod for pod in world.all(POD, deployment.namespace) if pod.private.get("deployment") == deployment.uid]


def _roll_out(world: World, deployment: Record) -> None:
    """Make and delete pods until they are those that the Deployment asks for."""
    if deployment.going:
        if not _pods_of(world, deployment):
            world.remove(deployment)
        return
    annotations = deployment.obj["metadata"].setdefault("annotations", {})
    spec, current = deployment.obj["spec"], template_hash(deployment)
    if deployment.private.get("hash") != current:
        deployment.private["hash"] = current
        revision = str(int(annotations.get("deployment.kubernetes.io/revision", 0)) + 1)
        annotations["deployment.kubernetes.io/revision"] = revision
    owned = _pods_of(world, deployment)
    old = [pod for pod in owned if pod.private["hash"] != current]
    new = [pod for pod in owned if pod.private["hash"] == current and not pod.going and not _is_over(pod)]
    recreate = spec["strategy"]["type"] == "Recreate"
    if recreate or len([pod for pod in new if _is_ready(pod)]) >= spec["replicas"]:
        for pod in old:
            delete_pod(world, pod)
    for pod in sorted(new, key=_is_ready)[: max(0, len(new) - spec["replicas"])]:
        delete_pod(world, pod)
    namespace = world.find(NAMESPACE, "", deployment.namespace)
    if (recreate and old) or namespace is None or namespace.going:
        return
    for _ in range(spec["replicas"] - len(new)):
        _make_pod(world, deployment, current)


def _make_pod(world: World, deployment: Record, revision: str) -> None:
    template = copied(deployment.obj["spec"]["template"])
    replica_set = f"{deployment.name}-{revision}"
    metadata = template["metadata"]
    labels = {**(metadata.get("labels") or {}), "pod-template-hash": revision}
    spec = {
        **template["spec"],
        "preemptionPolicy": "PreemptLowerPriority",
        "priority": 0,
        "serviceAccount": "default",
        "serviceAccountName": "default",
        "tolerations": [
            {"effect": "NoExecute", "key": f"node.kubernetes.io/{key}", "operator": "Exists", "tolerationSeconds": 300}
            for key in ("not-ready", "unreachable")
        ],
    }
    pod = world.add(
        POD,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **({"annotations": metadata["annotations"]} if metadata.get("annotations") else {}),
                "generateName": f"{replica_set}-",
                "labels": labels,
                "name": f"{replica_set}-{suffix()}",
                "namespace": deployment.namespace,
            },
            "spec": spec,
            "status": new_status(),
        },
    )
    pod.private.update(deployment=deployment.uid, hash=revision)
    message = f"Scaled up replica set {replica_set} to {deployment.obj['spec']['replicas']}"
    world.event(
        deployment, "Normal", "ScalingReplicaSet", message, {"component": "deployment-controller"}, repeat=False
    )


def _is_ready(pod: Record) -> bool:
    conditions = pod.obj["status"].get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _is_over(pod: Record) -> bool:
    return pod.obj["status"].get("phase") in ("Failed", "Succeeded")


def _report(world: World, deployment: Record) -> None:
    """Write what became of the Deployment into its status."""
    owned = [pod for pod in _pods_of(world, deployment) if not pod.going and not _is_over(pod)]
    current = [pod for pod in owned if pod.private["hash"] == deployment.private.get("hash")]
    wanted = deployment.obj["spec"]["replicas"]
    ready = sum(map(_is_ready, owned))
    status: Object = {"observedGeneration": deployment.obj["metadata"].get("generation", 1)}
    numbers = {
        "availableReplicas": ready,
        "readyReplicas": ready,
        "replicas": len(owned),
        "unavailableReplicas": max(0, wanted - ready),
        "updatedReplicas": len(current),
    }
    status.update({name: number for name, number in numbers.items() if number})
    replica_set = f"{deployment.name}-{deployment.private.get('hash', '')}"
    done = ready >= wanted and len(current) == wanted == len(owned)
    has, lacks = ("has", "MinimumReplicasAvailable"), ("does not have", "MinimumReplicasUnavailable")
    word, reason = has if ready >= wanted else lacks
    status["conditions"] = [
        _condition(world, deployment, "Available", ready >= wanted, reason, f"Deployment {word} minimum availability."),
        _condition(
            world,
            deployment,
            "Progressing",
            True,
            "NewReplicaSetAvailable" if done else "ReplicaSetUpdated",
            f'ReplicaSet "{replica_set}" {"has successfully progressed" if done else "is progressing"}.',
        ),
    ]
    deployment.obj["status"] = status


def _condition(world: World, deployment: Record, kind: str, value: bool, reason: str, message: str) -> Object:
    status = "True" if value else "False"
    conditions = deployment.obj["status"].get("conditions") or []
    known: Object = next((condition for condition in conditions if condition["type"] == kind), {})
    told = (status, reason, message)
    if (known.get("status"), known.get("reason"), known.get("message")) == told:
        return dict(known)
    since = known["lastTransitionTime"] if known.get("status") == status else world.time
    return {
        "lastTransitionTime": since,
        "lastUpdateTime": world.time,
        "message": message,
        "reason": reason,
        "status": status,
        "type": kind,
    }


def _empty(world: World, namespace: Record) -> None:
    """Delete all that is in a namespace that is going, and the namespace once nothing is left."""
    for record in world:
        if record.kind.namespaced and record.namespace == namespace.name and not record.going:
            delete(world, record)
    remaining = [record for record in world if record.kind.namespaced and record.namespace == namespace.name]
    if not remaining and not world.faults.namespace_stuck:
        world.remove(namespace)
        return
    kinds = sorted({record.kind for record in remaining}, key=lambda kind: kind.name)
    counts = ", ".join(f"{k.resource}. has {sum(r.kind is k for r in remaining)} resource instances" for k in kinds)
    stuck = world.faults.namespace_stuck and not remaining
    for kind, reason, message in _NO_FAILURES:
        _say(world, namespace, kind, False, reason, message)
    left = bool(remaining) or stuck
    what = f"Some resources are remaining: {counts or 'stuck.example.com has 1 resource instances'}"
    reason, message = ("SomeResourcesRemain", what) if left else ("ContentRemoved", "All content successfully removed")
    _say(world, namespace, "NamespaceContentRemaining", left, reason, message)
    reason, message = ("ContentHasNoFinalizers", "All content-preserving finalizers finished")
    if stuck:
        message = "Some content in the namespace has finalizers remaining: example.com/stuck in 1 resource instances"
        reason = "SomeFinalizersRemain"
    _say(world, namespace, "NamespaceFinalizersRemaining", stuck, reason, message)


_NO_FAILURES = (
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
)


def _say(world: World, namespace: Record, kind: str, value: bool, reason: str, message: str) -> None:
    conditions: list[Object] = namespace.obj["status"].setdefault("conditions", [])
    status = "True" if value else "False"
    known = next((condition for condition in conditions if condition["type"] == kind), None)
    if known is None:
        known = {"type": kind}
        conditions.append(known)
    if known.get("status") != status:
        known.update(status=status, lastTransitionTime=world.time)
    known.update(reason=reason, message=message)
