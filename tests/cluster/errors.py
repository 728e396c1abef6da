"""The one error of the test cluster: its text says which program failed and shows what it said."""

from __future__ import annotations


class ClusterError(RuntimeError):
    """The cluster, or a command given to it, failed."""
