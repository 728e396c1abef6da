"""Provisions the volumes of the embedded storage class: a folder for each claim, removed with its volume."""

from __future__ import annotations

import shutil
from pathlib import Path

from lfgpods.core.objects import Object
from lfgpods.hosts.embedded.cluster import admission
from lfgpods.hosts.embedded.cluster.kinds import STORAGE_CLASS, VOLUME
from lfgpods.hosts.embedded.cluster.objects import Objects, Record

CLASS = "embedded"
PROVISIONER = "lfgpods.io/embedded"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"


def storage_class() -> Object:
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "Immediate",
    }


def provision(objects: Objects, claim: Record, folder: Path) -> None:
    """Create a volume below FOLDER for a pending CLAIM of the class that names no volume."""
    spec = claim.obj["spec"]
    known = objects.find(STORAGE_CLASS, "", spec.get("storageClassName") or "")
    if known is None or claim.is_terminating or spec.get("volumeName") or claim.obj["status"]["phase"] != "Pending":
        return
    name = f"pvc-{claim.uid}"
    if objects.find(VOLUME, "", name) is not None:
        return
    place = folder / name
    place.mkdir(parents=True, exist_ok=True)
    place.chmod(0o777)
    reference = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "name": claim.name, "namespace": claim.namespace}
    volume: Object = {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "annotations": {PROVISIONED_BY: PROVISIONER}},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": dict(spec["resources"]["requests"]),
            "claimRef": {**reference, "uid": claim.uid},
            "hostPath": {"path": str(place), "type": "Directory"},
            "persistentVolumeReclaimPolicy": "Delete",
            "storageClassName": CLASS,
        },
    }
    admission.set_defaults(objects, VOLUME, volume)
    objects.add(VOLUME, volume)


def reclaim(objects: Objects, volume: Record) -> None:
    """Remove a released VOLUME of the class and its folder, unless its reclaim policy is Retain."""
    spec = volume.obj["spec"]
    by_us = (volume.obj["metadata"].get("annotations") or {}).get(PROVISIONED_BY) == PROVISIONER
    released = volume.obj["status"]["phase"] == "Released"
    if by_us and released and spec["persistentVolumeReclaimPolicy"] == "Delete":
        shutil.rmtree(spec["hostPath"]["path"], ignore_errors=True)
        objects.remove(volume)
