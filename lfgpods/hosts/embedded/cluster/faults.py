"""Faults that a test injects into an embedded host, for every process that uses its folder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Faults:
    """What goes wrong from now on; `Faults()` ends all faults.

    Each fault looks as it does on a real cluster. Only `api_down`, `crash_loop` and `exec_dropped_after` affect pods
    that already run.
    """

    image_pull: bool = False
    """No image can be pulled: ErrImagePull, then ImagePullBackOff."""
    unschedulable: bool = False
    """No node accepts a pod: Pending, PodScheduled=False."""
    crash_loop: bool = False
    """Every container exits with code 1: CrashLoopBackOff."""
    slow_start: float = 0.0
    """How long a container stays in ContainerCreating, in seconds."""
    api_down: bool = False
    """The API server refuses connections; running pods keep running."""
    exec_dropped_after: int | None = None
    """The output of an exec ends after this many bytes, with exit code 0 and no error."""
    namespace_stuck: bool = False
    """A deleted namespace stays Terminating."""
