"""One caller at a time for each owner, on however many machines: a Lease in the cluster is the lock.

It works as client-go's leader election does: the holder creates the Lease, renews it from a thread, and deletes it. A
Lease whose holder is gone is taken over: at once if its process is known to be dead, else once nobody has renewed it
for its duration. The lock is held while an owner's objects are read and changed, not while a pod starts.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from lfgpods.core import processes
from lfgpods.core.errors import KubernetesError, LfgpodsError, TimeLimitError
from lfgpods.core.objects import Object
from lfgpods.core.operation import Operation
from lfgpods.core.owners import Names
from lfgpods.hosts.base import Completed
from lfgpods.hosts.round_trip import RoundTrip, Step
from lfgpods.kube.kinds import of_kind
from lfgpods.kube.kubectl import REQUEST_TIMEOUT, Kubectl
from lfgpods.kube.labels import annotation, label, manager_labels

if TYPE_CHECKING:
    from lfgpods.kube.objects import KubeObject, Lease

HOLDER = "lfgpods.io/holder"
PROCESS = "lfgpods.io/process"
LEASE_SECONDS = 20
RENEW_EVERY = 6.0
RELEASE_GRACE = 1.0
"""Seconds that the last command of a holder that was killed, or gave its lock back, is given to end on the host."""
_POLL = (0.1, 0.2, 0.4, 0.8)

log = logging.getLogger(__name__)

_held_tokens: set[str] = set()
"""The tokens of the locks that this process holds; a Lease of this process with another token was left by an error."""


class OwnerLock:
    """The lock of one owner's objects, for which OPERATION waits. Its Lease is in NAMESPACE."""

    def __init__(
        self, kubectl: Kubectl, names: Names, operation: Operation, *, namespace: str, instance: str | None = None
    ) -> None:
        self._kubectl = kubectl
        self._names = names
        self._namespace = namespace
        self._instance = instance
        self._operation = operation
        self._name = f"lfgpods-{names.namespace}"
        self._token = secrets.token_hex(8)
        self._version = ""
        self._renewed = 0.0
        self._released = threading.Event()
        self._renewer = threading.Thread(target=self._renew, name="lfgpods-lock", daemon=True)

    def take(self, references: Sequence[str]) -> list[KubeObject]:
        """Wait for the lock and take it. Returns the objects of REFERENCES as they are once it is held.

        Taking and reading are one round trip. Raises TimeLimitError, which names the holder, if the operation's
        time is over, and KubernetesError if the cluster refuses.
        """
        _held_tokens.add(self._token)
        try:
            found = self._take(references)
        except BaseException:
            _held_tokens.discard(self._token)
            raise
        self._renewer.start()
        return found

    def release(self) -> None:
        """Give the lock back, unless `release_step` has. Raises nothing: a Lease that stays expires."""
        if not self._released.is_set():
            try:
                self._kubectl.delete_selected(*self._selection)
            except LfgpodsError as error:
                log.warning("the lock of %s stays until it expires: %s", self._names.namespace, error.message)
            self._mark_released()
        self._renewer.join()

    def release_step(self) -> Step[None]:
        """The step that gives the lock back, to follow the last change in its round trip."""
        step = self._kubectl.delete_selected_step(*self._selection)

        def parse(completed: Completed) -> None:
            step.parse(completed)
            self._mark_released()

        return Step(step.argv, parse)

    def _mark_released(self) -> None:
        self._released.set()
        _held_tokens.discard(self._token)

    def check(self) -> None:
        """Raise KubernetesError unless the lock is still held. Call it before what cannot be undone."""
        if self._released.is_set() or _clock_that_counts_sleep() - self._renewed > LEASE_SECONDS:
            raise KubernetesError(
                f"the lock of {self._names.namespace} was lost on the way",
                "The cluster did not answer for a while. Do the same again; it goes on where this ended.",
                code="lock_lost",
            )

    def _take(self, references: Sequence[str]) -> list[KubeObject]:
        seen: tuple[str, float] | None = None
        polls = iter(_POLL)
        while True:
            asked = _clock_that_counts_sleep()
            try:
                trip = RoundTrip()
                created = trip.add(self._kubectl.create_step(self._lease()))
                found = trip.add(self._kubectl.get_step(references, self._names.namespace))
                trip.send(self._kubectl.host, timeout=2 * REQUEST_TIMEOUT)
                self._note_renewal(created.result, asked)
                return found.result
            except KubernetesError as error:
                if error.code != "already_exists":
                    raise
            held = next(iter(self._leases()), None)
            if held is not None:
                version = held.metadata.resource_version
                if seen is None or seen[0] != version:
                    seen = (version, _clock_that_counts_sleep())
                asked = _clock_that_counts_sleep()
                if _is_abandoned(held, asked - seen[1]) and (taken := self._take_over(held)):
                    self._released.wait(RELEASE_GRACE)
                    found_now = self._kubectl.get(references, self._names.namespace)
                    self._note_renewal(taken, asked)
                    return found_now
            holder = _holder(held) if held else "somebody"
            may_expire = held is not None and processes.is_alive(_process(held)) is None
            if self._operation.left <= (-LEASE_SECONDS - _POLL[-1] if may_expire else 0):
                waited = f"{self._operation.seconds:.0f} s"
                raise TimeLimitError(
                    f"{holder} is changing {self._names.namespace}, and has not ended within {waited}",
                    "Wait for it, or end it; a lock whose holder is gone is taken over by itself.",
                )
            self._operation.on_step(f"waiting for {holder}")
            self._released.wait(next(polls, _POLL[-1]))

    def _leases(self) -> list[Lease]:
        return of_kind(self._kubectl.get([f"lease/{self._name}"], self._namespace), "Lease")

    def _take_over(self, held: Lease) -> KubeObject | None:
        """The abandoned Lease, now ours; None where somebody else was first."""
        log.info("taking over the lock of %s from %s, which is gone", self._names.namespace, _holder(held))
        wanted = self._lease()
        wanted["metadata"]["resourceVersion"] = held.metadata.resource_version
        try:
            return self._kubectl.patch(f"lease/{self._name}", self._namespace, wanted)
        except KubernetesError as error:
            if error.code not in ("conflict", "not_found"):
                raise
            return None

    def _note_renewal(self, lease: KubeObject, asked: float) -> None:
        """Note the Lease as it is now. Its duration counts from when the request was sent, at ASKED."""
        self._version = lease.metadata.resource_version
        self._renewed = asked

    def _renew(self) -> None:
        """Renew the Lease until it is given back; where that fails, `check` will say so."""
        while not self._released.wait(RENEW_EVERY):
            renewal = {"metadata": {"resourceVersion": self._version}, "spec": {"renewTime": _now()}}
            asked = _clock_that_counts_sleep()
            try:
                self._note_renewal(self._kubectl.patch(f"lease/{self._name}", self._namespace, renewal), asked)
            except LfgpodsError as error:
                lost = error.code in ("conflict", "not_found") and not self._is_still_ours()
                if lost:
                    self._renewed = float("-inf")
                if self._released.wait(RELEASE_GRACE):
                    return  # given back meanwhile
                log.warning("the lock of %s could not be renewed: %s", self._names.namespace, error.message)
                if lost:
                    return

    def _is_still_ours(self) -> bool:
        """Look again: the answer to a renewal of our own may have been lost."""
        try:
            for lease in self._leases():
                if label(lease, HOLDER) == self._token:
                    self._version = lease.metadata.resource_version
                    return True
        except LfgpodsError:
            return True  # nobody knows; the next renewal tells
        return False

    @property
    def _selection(self) -> tuple[str, str, str]:
        return "leases", self._namespace, f"{HOLDER}={self._token}"

    def _lease(self) -> Object:
        now = _now()
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {**manager_labels(self._instance), HOLDER: self._token},
                "annotations": {PROCESS: processes.this_process()},
            },
            "spec": {
                "holderIdentity": f"{processes.user()}@{platform.node()} (pid {os.getpid()})",
                "leaseDurationSeconds": LEASE_SECONDS,
                "acquireTime": now,
                "renewTime": now,
            },
        }


def _clock_that_counts_sleep() -> float:
    """A clock that nobody sets, and that goes on while the machine sleeps, where the system has one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def is_orphan(lease: Lease) -> bool:
    """Whether the process that a Lease names is known to be dead, or is this one and does not hold it."""
    process = _process(lease)
    if process == processes.this_process():
        return label(lease, HOLDER) not in _held_tokens
    return processes.is_alive(process) is False


def _process(lease: Lease) -> str:
    return annotation(lease, PROCESS) or ""


def _is_abandoned(lease: Lease, unchanged: float) -> bool:
    """Whether the Lease may be taken over, given for how many seconds nobody was seen to renew it.

    No clock of another machine is trusted.
    """
    duration = lease.spec.lease_duration_seconds
    return is_orphan(lease) or unchanged > (LEASE_SECONDS if duration is None else duration)


def _holder(lease: Lease) -> str:
    return lease.spec.holder_identity or "somebody"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
