"""The controllers of the embedded cluster: they bind volumes, create pods for Deployments, and finish deletions.

There is no daemon: `reconcile` runs at each access, and catches up with the clock and with the processes.
"""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy

from lfgpods.core.objects import Object
from lfgpods.hosts.embedded.cluster import provisioner
from lfgpods.hosts.embedded.cluster.kinds import CLAIM, DEPLOYMENT, NAMESPACE, POD, VOLUME
from lfgpods.hosts.embedded.cluster.kubelet import Kubelet, delete_pod, new_status
from lfgpods.hosts.embedded.cluster.objects import Objects, Record, random_suffix

_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def reconcile(objects: Objects, kubelet: Kubelet) -> None:
    """Move every object one step towards its desired state."""
    for claim in objects.all(CLAIM):
        provisioner.provision(objects, claim, kubelet.provisioned)
    for volume in objects.all(VOLUME):
        _bind(objects, volume)
        provisioner.reclaim(objects, volume)
    for claim in objects.all(CLAIM):
        _update_claim(objects, claim)
    for deployment in objects.all(DEPLOYMENT):
        _reconcile_pods(objects, deployment)
    for pod in objects.all(POD):
        kubelet.sync(objects, pod)
        if pod.private.get("deployment") and not pod.is_terminating:
            owners = [one.uid for one in objects.all(DEPLOYMENT, pod.namespace)]
            if pod.private["deployment"] not in owners:
                delete_pod(objects, pod)
    for deployment in objects.all(DEPLOYMENT):
        _update_status(objects, deployment)
    for namespace in objects.all(NAMESPACE):
        if namespace.is_terminating:
            _empty_namespace(objects, namespace)


def delete(objects: Objects, record: Record, *, grace: int | None = None) -> None:
    """Start to delete RECORD as the API server does. An object without finalizers is removed at once."""
    if record.kind is POD:
        if record.is_terminating and grace == 0:
            record.private["kill_at"] = objects.now
        delete_pod(objects, record, grace)
    elif record.kind is NAMESPACE:
        record.obj["metadata"].setdefault("deletionTimestamp", objects.time)
        record.obj["status"]["phase"] = "Terminating"
    elif record.obj["metadata"].get("finalizers"):
        record.obj["metadata"].setdefault("deletionGracePeriodSeconds", 0)
        record.obj["metadata"].setdefault("deletionTimestamp", objects.time)
    else:
        objects.remove(record)


def template_hash(deployment: Record) -> str:
    """The pod-template-hash of a Deployment's pods."""
    digest = hashlib.sha256(json.dumps(deployment.obj["spec"]["template"], sort_keys=True).encode()).digest()
    return "".join(_ALPHABET[byte % len(_ALPHABET)] for byte in digest[:10])


def _bind(objects: Objects, volume: Record) -> None:
    before = volume.obj["status"].get("phase")
    _find_phase(objects, volume)
    status = volume.obj["status"]
    if status["phase"] != before or "lastPhaseTransitionTime" not in status:
        status["lastPhaseTransitionTime"] = objects.time
    if volume.is_terminating and status["phase"] != "Bound":
        objects.remove(volume)


def _find_phase(objects: Objects, volume: Record) -> None:
    reference = volume.obj["spec"].get("claimRef")
    status = volume.obj["status"]
    claim = objects.find(CLAIM, reference["namespace"], reference["name"]) if reference else None
    if reference is None:
        status["phase"] = "Available"
    elif reference.get("uid") and (claim is None or claim.uid != reference["uid"]):
        status["phase"] = "Released"
    elif reference.get("uid") and status["phase"] == "Bound":
        pass
    elif claim is None or claim.is_terminating or claim.obj["spec"].get("volumeName") not in (None, volume.name):
        status["phase"] = "Available"
    elif not volume.is_terminating:
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


def _update_claim(objects: Objects, claim: Record) -> None:
    spec, status = claim.obj["spec"], claim.obj["status"]
    if status["phase"] == "Bound" and objects.find(VOLUME, "", spec["volumeName"]) is None:
        status["phase"] = "Lost"
        objects.add_event(
            claim,
            "Warning",
            "ClaimLost",
            "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
            _VOLUMES,
        )
    if status["phase"] == "Pending" and not claim.is_terminating:
        message = f'storageclass.storage.k8s.io "{spec.get("storageClassName", "")}" not found'
        objects.add_event(claim, "Warning", "ProvisioningFailed", message, _VOLUMES, repeat=False)
    used = any(_uses(pod, claim) for pod in objects.all(POD, claim.namespace))
    status["conditions"] = [_unused(objects, claim, used)]
    if claim.is_terminating and not used:
        objects.remove(claim)


def _unused(objects: Objects, claim: Record, used: bool) -> Object:
    """The condition that tells since when no pod uses CLAIM."""
    value = "False" if used else "True"
    known: Object = next(iter(claim.obj["status"].get("conditions") or []), {})
    return {
        "lastProbeTime": None,
        "lastTransitionTime": known["lastTransitionTime"] if known.get("status") == value else objects.time,
        "message": "A pod is currently referencing this PVC" if used else "No pod is referencing this PVC",
        "reason": "PodUsingPVC" if used else "NoPodsUsingPVC",
        "status": value,
        "type": "Unused",
    }


_VOLUMES: Object = {"component": "persistentvolume-controller"}


def _uses(pod: Record, claim: Record) -> bool:
    volumes = pod.obj["spec"].get("volumes") or []
    return any((volume.get("persistentVolumeClaim") or {}).get("claimName") == claim.name for volume in volumes)


def _pods_of(objects: Objects, deployment: Record) -> list[Record]:
    return [pod for pod in objects.all(POD, deployment.namespace) if pod.private.get("deployment") == deployment.uid]


def _reconcile_pods(objects: Objects, deployment: Record) -> None:
    """Create and delete pods until they match the Deployment."""
    if deployment.is_terminating:
        if not _pods_of(objects, deployment):
            objects.remove(deployment)
        return
    annotations = deployment.obj["metadata"].setdefault("annotations", {})
    spec, current = deployment.obj["spec"], template_hash(deployment)
    if deployment.private.get("hash") != current:
        deployment.private["hash"] = current
        revision = str(int(annotations.get("deployment.kubernetes.io/revision", 0)) + 1)
        annotations["deployment.kubernetes.io/revision"] = revision
    owned = _pods_of(objects, deployment)
    old = [pod for pod in owned if pod.private["hash"] != current]
    new = [pod for pod in owned if pod.private["hash"] == current and not pod.is_terminating and not _is_finished(pod)]
    recreate = spec["strategy"]["type"] == "Recreate"
    if recreate or len([pod for pod in new if _is_ready(pod)]) >= spec["replicas"]:
        for pod in old:
            delete_pod(objects, pod)
    for pod in sorted(new, key=_is_ready)[: max(0, len(new) - spec["replicas"])]:
        delete_pod(objects, pod)
    namespace = objects.find(NAMESPACE, "", deployment.namespace)
    if (recreate and old) or namespace is None or namespace.is_terminating:
        return
    for _ in range(spec["replicas"] - len(new)):
        _make_pod(objects, deployment, current)


def _make_pod(objects: Objects, deployment: Record, revision: str) -> None:
    template = deepcopy(deployment.obj["spec"]["template"])
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
    pod = objects.add(
        POD,
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                **({"annotations": metadata["annotations"]} if metadata.get("annotations") else {}),
                "generateName": f"{replica_set}-",
                "generation": 1,
                "labels": labels,
                "name": f"{replica_set}-{random_suffix()}",
                "namespace": deployment.namespace,
            },
            "spec": spec,
            "status": new_status(),
        },
    )
    pod.private.update(deployment=deployment.uid, hash=revision)
    message = f"Scaled up replica set {replica_set} to {deployment.obj['spec']['replicas']}"
    objects.add_event(
        deployment, "Normal", "ScalingReplicaSet", message, {"component": "deployment-controller"}, repeat=False
    )


def _is_ready(pod: Record) -> bool:
    conditions = pod.obj["status"].get("conditions") or []
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _is_finished(pod: Record) -> bool:
    return pod.obj["status"].get("phase") in ("Failed", "Succeeded")


def _update_status(objects: Objects, deployment: Record) -> None:
    """Update the status of a Deployment from its pods."""
    owned = [pod for pod in _pods_of(objects, deployment) if not pod.is_terminating and not _is_finished(pod)]
    current = [pod for pod in owned if pod.private["hash"] == deployment.private.get("hash")]
    wanted = deployment.obj["spec"]["replicas"]
    ready = sum(map(_is_ready, owned))
    status: Object = {
        "observedGeneration": deployment.obj["metadata"].get("generation", 1),
        "terminatingReplicas": sum(pod.is_terminating for pod in _pods_of(objects, deployment)),
    }
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
        _condition(
            objects, deployment, "Available", ready >= wanted, reason, f"Deployment {word} minimum availability."
        ),
        _condition(
            objects,
            deployment,
            "Progressing",
            True,
            "NewReplicaSetAvailable" if done else "ReplicaSetUpdated",
            f'ReplicaSet "{replica_set}" {"has successfully progressed" if done else "is progressing"}.',
        ),
    ]
    deployment.obj["status"] = status


def _condition(objects: Objects, deployment: Record, kind: str, value: bool, reason: str, message: str) -> Object:
    status = "True" if value else "False"
    conditions = deployment.obj["status"].get("conditions") or []
    known: Object = next((condition for condition in conditions if condition["type"] == kind), {})
    current = (status, reason, message)
    if (known.get("status"), known.get("reason"), known.get("message")) == current:
        return dict(known)
    since = known["lastTransitionTime"] if known.get("status") == status else objects.time
    return {
        "lastTransitionTime": since,
        "lastUpdateTime": objects.time,
        "message": message,
        "reason": reason,
        "status": status,
        "type": kind,
    }


def _empty_namespace(objects: Objects, namespace: Record) -> None:
    """Delete the content of a terminating namespace, then the namespace itself."""
    for record in objects:
        if record.kind.namespaced and record.namespace == namespace.name and not record.is_terminating:
            delete(objects, record)
    remaining = [record for record in objects if record.kind.namespaced and record.namespace == namespace.name]
    if not remaining and not objects.faults.namespace_stuck:
        objects.remove(namespace)
        return
    kinds = sorted({record.kind for record in remaining}, key=lambda kind: kind.name)
    counts = ", ".join(f"{k.resource}. has {sum(r.kind is k for r in remaining)} resource instances" for k in kinds)
    stuck = objects.faults.namespace_stuck and not remaining
    for kind, reason, message in _NO_FAILURES:
        _set_condition(objects, namespace, kind, False, reason, message)
    left = bool(remaining) or stuck
    what = f"Some resources are remaining: {counts or 'stuck.example.com has 1 resource instances'}"
    reason, message = ("SomeResourcesRemain", what) if left else ("ContentRemoved", "All content successfully removed")
    _set_condition(objects, namespace, "NamespaceContentRemaining", left, reason, message)
    reason, message = ("ContentHasNoFinalizers", "All content-preserving finalizers finished")
    if stuck:
        message = "Some content in the namespace has finalizers remaining: example.com/stuck in 1 resource instances"
        reason = "SomeFinalizersRemain"
    _set_condition(objects, namespace, "NamespaceFinalizersRemaining", stuck, reason, message)


_NO_FAILURES = (
    ("NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered", "All resources successfully discovered"),
    ("NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions", "All legacy kube types successfully parsed"),
    (
        "NamespaceDeletionContentFailure",
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
)


def _set_condition(objects: Objects, namespace: Record, kind: str, value: bool, reason: str, message: str) -> None:
    conditions: list[Object] = namespace.obj["status"].setdefault("conditions", [])
    status = "True" if value else "False"
    known = next((condition for condition in conditions if condition["type"] == kind), None)
    if known is None:
        known = {"type": kind}
        conditions.append(known)
    if known.get("status") != status:
        known.update(status=status, lastTransitionTime=objects.time)
    known.update(reason=reason, message=message)
