"""Picks Kubernetes objects by their kind, without loading their types. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, overload

if TYPE_CHECKING:
    from lfgpods.kube import objects as kube


@overload
def of_kind(objects: Iterable[kube.KubeObject], kind: Literal["Namespace"]) -> list[kube.Namespace]: ...
@overload
def of_kind(objects: Iterable[kube.KubeObject], kind: Literal["PersistentVolume"]) -> list[kube.PersistentVolume]: ...
@overload
def of_kind(
    objects: Iterable[kube.KubeObject], kind: Literal["PersistentVolumeClaim"]
) -> list[kube.PersistentVolumeClaim]: ...
@overload
def of_kind(objects: Iterable[kube.KubeObject], kind: Literal["Deployment"]) -> list[kube.Deployment]: ...
@overload
def of_kind(objects: Iterable[kube.KubeObject], kind: Literal["Service"]) -> list[kube.Service]: ...
@overload
def of_kind(objects: Iterable[kube.KubeObject], kind: Literal["Pod"]) -> list[kube.Pod]: ...
@overload
def of_kind(objects: Iterable[kube.KubeObject], kind: Literal["Lease"]) -> list[kube.Lease]: ...
@overload
def of_kind(objects: Iterable[kube.KubeObject], kind: Literal["Event"]) -> list[kube.Event]: ...
def of_kind(objects: Iterable[kube.KubeObject], kind: str) -> list[Any]:
    """Those of OBJECTS that are of KIND."""
    return [obj for obj in objects if obj.kind == kind]
