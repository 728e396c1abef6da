"""Owners by the thousand: every object of each as lfgpods, the controllers and kubelet would have left it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from lfgpods import Owner, Request, Settings
from lfgpods.core.objects import Object
from lfgpods.pods.lifecycle import render
from tests.bench.api_server import ApiServer, Call

_SEED = "bench-seed"
_BATCH = 50
_NOW = "2026-01-01T00:00:00Z"
_PATHS = {
    "Namespace": "/api/v1/namespaces",
    "PersistentVolume": "/api/v1/persistentvolumes",
    "PersistentVolumeClaim": "/api/v1/namespaces/{}/persistentvolumeclaims",
    "Service": "/api/v1/namespaces/{}/services",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
}


def owners(count: int) -> list[Owner]:
    return [Owner.project(f"bench-{number:06}") for number in range(count)]


def make(api: ApiServer, settings: Settings, count: int) -> None:
    """COUNT owners with a running pod each."""
    seed = Owner.project(_SEED)
    objects = render(settings, seed, Request())
    text = json.dumps(list(_calls(seed.names.namespace, objects)))
    every = owners(count)
    batches = [every[start : start + _BATCH] for start in range(0, count, _BATCH)]
    api.send(
        [Call(**call) for owner in batch for call in json.loads(text.replace(_SEED, owner.id))] for batch in batches
    )


def _calls(namespace: str, objects: Sequence[Object]) -> Iterator[dict[str, Any]]:
    for obj in objects:
        if obj["kind"] in _PATHS:
            yield {"method": "POST", "path": _PATHS[obj["kind"]].format(namespace), "body": obj}
    deployment = next(obj for obj in objects if obj["kind"] == "Deployment")
    pod = _pod(deployment)
    pods = f"/api/v1/namespaces/{namespace}/pods"
    controller, kubelet = {"manager": "kube-controller-manager"}, {"manager": "kubelet"}
    yield {"method": "POST", "path": pods, "body": pod, **controller}
    status_of_pod = f"{pods}/{pod['metadata']['name']}/status"
    yield {"method": "PATCH", "path": status_of_pod, "body": {"status": _pod_status(pod)}, **kubelet}
    status = f"{_PATHS['Deployment'].format(namespace)}/{deployment['metadata']['name']}/status"
    yield {"method": "PATCH", "path": status, "body": {"status": _deployment_status(deployment)}, **controller}


def _pod(deployment: Object) -> Object:
    template, name = deployment["spec"]["template"], f"{deployment['metadata']['name']}-5d8c7b9f4d"
    metadata = {
        **template["metadata"],
        "labels": {**template["metadata"]["labels"], "pod-template-hash": "5d8c7b9f4d"},
        "name": f"{name}-x7k2p",
        "namespace": deployment["metadata"]["namespace"],
        "ownerReferences": [
            {
                "apiVersion": "apps/v1",
                "kind": "ReplicaSet",
                "name": name,
                "uid": "7f1c2f8e-3f0a-4b57-9d4c-0d5f0c1b2a3d",
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
    }
    spec = {**template["spec"], "nodeName": "lfgpods"}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _pod_status(pod: Object) -> Object:
    container = pod["spec"]["containers"][0]
    conditions = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    return {
        "phase": "Running",
        "conditions": [
            {"type": type_, "status": "True", "lastProbeTime": None, "lastTransitionTime": _NOW} for type_ in conditions
        ],
        "hostIP": "10.99.0.2",
        "podIP": "10.244.0.7",
        "podIPs": [{"ip": "10.244.0.7"}],
        "qosClass": "Burstable",
        "startTime": _NOW,
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": f"docker.io/gitpod/workspace-full@sha256:{'ab12' * 16}",
                "containerID": f"containerd://{'0f3c' * 16}",
                "ready": True,
                "started": True,
                "restartCount": 0,
                "lastState": {},
                "state": {"running": {"startedAt": _NOW}},
            }
        ],
    }


def _deployment_status(deployment: Object) -> Object:
    replica_set = f"{deployment['metadata']['name']}-5d8c7b9f4d"
    times = {"lastTransitionTime": _NOW, "lastUpdateTime": _NOW, "status": "True"}
    available, made = "Deployment has minimum availability.", f'ReplicaSet "{replica_set}" has successfully progressed.'
    return {
        "availableReplicas": 1,
        "observedGeneration": 1,
        "readyReplicas": 1,
        "replicas": 1,
        "updatedReplicas": 1,
        "conditions": [
            {"type": "Available", "reason": "MinimumReplicasAvailable", "message": available, **times},
            {"type": "Progressing", "reason": "NewReplicaSetAvailable", "message": made, **times},
        ],
    }
