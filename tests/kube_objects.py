"""Kubernetes objects for tests, written as kubectl prints them."""

from __future__ import annotations

from typing import Any, TypeVar

from lfgpods.kube.objects import KubeObject, read_object

T = TypeVar("T", bound=KubeObject)


def read_as(type: type[T], document: dict[str, Any]) -> T:
    """DOCUMENT as an object of TYPE; it has a kind and a name."""
    found = read_object({"kind": type.kind, **document})
    assert isinstance(found, type)
    return found
