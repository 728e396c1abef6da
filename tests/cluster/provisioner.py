"""A minimal provisioner for the test cluster: a folder of the machine for each claim of its two storage classes.

It does what an external provisioner does, and nothing that the controller manager does: it makes a volume for a claim
that was given to it, and removes what is released and not to be kept.
"""

from __future__ import annotations

import http.client
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.cluster import kubectl
from tests.cluster.api import Api
from tests.cluster.errors import ClusterError

NAME = "lfgpods.test/folders"
IMMEDIATE = "lfgpods-test-immediate"
FIRST_CONSUMER = "lfgpods-test-first-consumer"
FOLDERS = Path("/mnt/lfgpods-test-provisioned")
"""The nodes share the machine's files; what ties a volume to one of them is its affinity alone."""
_EVERY = 0.2
_GIVEN_TO = "volume.beta.kubernetes.io/storage-provisioner"
_SELECTED_NODE = "volume.kubernetes.io/selected-node"
_PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
_CLASSES = "/apis/storage.k8s.io/v1/storageclasses"
_VOLUMES = "/api/v1/persistentvolumes"
_MODES = {IMMEDIATE: "Immediate", FIRST_CONSUMER: "WaitForFirstConsumer"}


def folder_of(volume: str) -> Path:
    """Where the files of the volume called VOLUME are."""
    return FOLDERS / volume


@contextmanager
def running() -> Iterator[None]:
    """The storage classes are there, and their provisioner runs; both go at the end, with what was provisioned."""
    stop, failure = threading.Event(), []
    api = Api(timeout=20)
    for name, mode in _MODES.items():
        document = {
            "metadata": {"name": name},
            "provisioner": NAME,
            "reclaimPolicy": "Delete",
            "volumeBindingMode": mode,
        }
        status, answer = api.request("POST", _CLASSES, document)
        if status not in (201, 409):
            raise ClusterError(f"no storage class {name}: {answer}")

    def work() -> None:
        try:
            while not stop.wait(_EVERY):
                _round(api)
        except (OSError, ValueError, http.client.HTTPException) as error:
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for name in _MODES:
            api.request("DELETE", f"{_CLASSES}/{name}")
        api.close()
        shutil.rmtree(FOLDERS, ignore_errors=True)
        # A cluster that never had such volumes is not looked through for them.
        kubectl.run("annotate", "namespace", "default", "lfgpods.io/provisioned-volumes-")
    if failure:
        raise ClusterError(f"the provisioner failed: {failure[0]!r}")


def _round(api: Api) -> None:
    for claim in api.request("GET", "/api/v1/persistentvolumeclaims")[1]["items"]:
        annotations = claim["metadata"].get("annotations") or {}
        mode = _MODES.get(claim["spec"].get("storageClassName") or "")
        node = annotations.get(_SELECTED_NODE)
        waits = claim["status"]["phase"] == "Pending" and not claim["spec"].get("volumeName")
        if waits and mode and annotations.get(_GIVEN_TO) == NAME and (node or mode == "Immediate"):
            _provision(api, claim, node)
    for volume in api.request("GET", _VOLUMES)[1]["items"]:
        ours = (volume["metadata"].get("annotations") or {}).get(_PROVISIONED_BY) == NAME
        delete = volume["spec"]["persistentVolumeReclaimPolicy"] == "Delete"
        if ours and delete and volume["status"]["phase"] in ("Released", "Failed"):
            name = volume["metadata"]["name"]
            shutil.rmtree(folder_of(name), ignore_errors=True)
            api.request("DELETE", f"{_VOLUMES}/{name}")


def _provision(api: Api, claim: Any, node: str | None) -> None:
    metadata = claim["metadata"]
    name = f"pvc-{metadata['uid']}"
    folder_of(name).mkdir(parents=True, exist_ok=True)
    folder_of(name).chmod(0o777)
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    volume = {
        "metadata": {"name": name, "annotations": {_PROVISIONED_BY: NAME}},
        "spec": {
            "storageClassName": claim["spec"]["storageClassName"],
            "capacity": claim["spec"]["resources"]["requests"],
            "accessModes": claim["spec"]["accessModes"],
            "persistentVolumeReclaimPolicy": "Delete",
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": metadata["namespace"],
                "name": metadata["name"],
                "uid": metadata["uid"],
            },
            "hostPath": {"path": str(folder_of(name)), "type": "Directory"},
            **({"nodeAffinity": {"required": {"nodeSelectorTerms": [term]}}} if node else {}),
        },
    }
    status, answer = api.request("POST", _VOLUMES, volume)
    if status not in (201, 409):
        raise ValueError(f"no volume for {metadata['name']}: {answer}")
