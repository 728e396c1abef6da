"""Faults on demand: what a test makes go wrong in an embedded host, for every process that uses its folder."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Faults:
    """What goes wrong from now on; `Faults()` heals everything.

    Each shows as the real cluster shows it. Pods that already run are touched by none but `api_down`,
    `crash_loop` and `exec_dropped_after`.
    """

    image_pull: bool = False
    """No image can be pulled: ErrImagePull, then ImagePullBackOff."""
    unschedulable: bool = False
    """No node takes a pod: Pending, PodScheduled=False."""
    crash_loop: bool = False
    """Every container ends with exit code 1: CrashLoopBackOff."""
    slow_start: float = 0.0
    """Seconds that a container spends in ContainerCreating."""
    api_down: bool = False
    """The API server refuses connections; what runs goes on."""
    exec_dropped_after: int | None = None
    """An exec's stream ends after so many bytes of output, with exit code 0 and no word."""
    namespace_stuck: bool = False
    """A namespace that is deleted stays Terminating."""
