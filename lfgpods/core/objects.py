"""What every Kubernetes object has: JSON, with labels and annotations in its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Object = dict[str, Any]
"""A Kubernetes object as kubectl's JSON gives it."""


def metadata(obj: Object | None, key: str) -> Mapping[str, str]:
    """The labels or annotations (KEY) of an object, empty where it has none."""
    return ((obj or {}).get("metadata") or {}).get(key) or {}
