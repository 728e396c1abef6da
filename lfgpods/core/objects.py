"""The JSON of a Kubernetes object, as lfgpods writes it and as the embedded host stores it.

Objects that kubectl answers with have types, see lfgpods.kube.objects.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
"""A Kubernetes object, or a part of one, as the dict of its JSON."""
