"""A lock for each owner, across machines. A Lease in the cluster is the lock.

It works like client-go's leader election: the holder creates the Lease, renews it in a thread and deletes it. Another
caller takes over an abandoned Lease: at once if the holder's process is known to be dead, otherwise when it has not
been renewed for its duration. The lock is held while an owner's objects are read and changed, not while a pod starts.
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
"""How long the last command of a killed holder may still run on the host, in seconds."""
_POLL = (0.1, 0.2, 0.4, 0.8)

log = logging.getLogger(__name__)

_held_tokens: set[str] = set()
"""Tokens of the locks that this process holds. A Lease of this process with another token was left by an error."""


class OwnerLock:
    """The lock for one owner's objects. Its Lease is in NAMESPACE; OPERATION limits the wait for it."""

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
        """Take the lock, waiting for it if necessary. Returns the objects of REFERENCES, read under the lock.

        A free lock takes one round trip. Raises TimeLimitError with the holder's name if OPERATION runs out of time.
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
        """Release the lock, unless `release_step` did. Never raises: a Lease that stays expires."""
        if not self._released.is_set():
            try:
                self._kubectl.delete_selected(*self._selection)
            except LfgpodsError as error:
                log.warning("the lock of %s stays until it expires: %s", self._names.namespace, error.message)
            self._mark_released()
        self._renewer.join()

    def release_step(self) -> Step[None]:
        """Return the step that releases the lock. Add it after the last change of a round trip."""
        step = self._kubectl.delete_selected_step(*self._selection)

        def parse(completed: Completed) -> None:
            step.parse(completed)
            self._mark_released()

        return Step(step.argv, parse)

    def _mark_released(self) -> None:
        self._released.set()
        _held_tokens.discard(self._token)

    def check(self) -> None:
        """Raise KubernetesError unless the lock is still held. Call it before any step that cannot be undone."""
        if self._released.is_set() or _boot_time() - self._renewed > LEASE_SECONDS:
            raise KubernetesError(
                f"the lock of {self._names.namespace} was lost",
                "The cluster did not answer for a while. Run the same command again; it finishes what is left.",
                code="lock_lost",
            )

    def _take(self, references: Sequence[str]) -> list[KubeObject]:
        seen: tuple[str, float] | None = None
        polls = iter(_POLL)
        while True:
            asked = _boot_time()
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
                    seen = (version, _boot_time())
                asked = _boot_time()
                if _is_abandoned(held, asked - seen[1]) and (taken := self._take_over(held)):
                    self._released.wait(RELEASE_GRACE)
                    found_now = self._kubectl.get(references, self._names.namespace)
                    self._note_renewal(taken, asked)
                    return found_now
            holder = _holder(held) if held else "another caller"
            may_expire = held is not None and processes.is_alive(_process(held)) is None
            if self._operation.left <= (-LEASE_SECONDS - _POLL[-1] if may_expire else 0):
                waited = f"{self._operation.seconds:.0f} s"
                raise TimeLimitError(
                    f"{holder} is still changing {self._names.namespace} after {waited}",
                    "Wait for it or stop it. The lock of a dead process is taken over automatically.",
                )
            self._operation.on_step(f"waiting for {holder}")
            self._released.wait(next(polls, _POLL[-1]))

    def _leases(self) -> list[Lease]:
        return of_kind(self._kubectl.get([f"lease/{self._name}"], self._namespace), "Lease")

    def _take_over(self, held: Lease) -> KubeObject | None:
        """Take over the abandoned Lease. Returns None if another caller was first."""
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
        """Store the Lease's version. Its duration counts from ASKED, when the request was sent."""
        self._version = lease.metadata.resource_version
        self._renewed = asked

    def _renew(self) -> None:
        """Renew the Lease until it is released. If that fails, `check` raises."""
        while not self._released.wait(RENEW_EVERY):
            renewal = {"metadata": {"resourceVersion": self._version}, "spec": {"renewTime": _now()}}
            asked = _boot_time()
            try:
                self._note_renewal(self._kubectl.patch(f"lease/{self._name}", self._namespace, renewal), asked)
            except LfgpodsError as error:
                lost = error.code in ("conflict", "not_found") and not self._is_still_ours()
                if lost:
                    self._renewed = float("-inf")
                if self._released.wait(RELEASE_GRACE):
                    return  # released meanwhile
                log.warning("the lock of %s could not be renewed: %s", self._names.namespace, error.message)
                if lost:
                    return

    def _is_still_ours(self) -> bool:
        """Read the Lease again: an earlier renewal may have succeeded although its answer was lost."""
        try:
            for lease in self._leases():
                if label(lease, HOLDER) == self._token:
                    self._version = lease.metadata.resource_version
                    return True
        except LfgpodsError:
            return True  # unknown; the next renewal will tell
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


def _boot_time() -> float:
    """A monotonic clock that counts time asleep, if the system has one."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def is_orphan(lease: Lease) -> bool:
    """Whether the Lease's process is known to be dead, or is this process and does not hold the lock."""
    process = _process(lease)
    if process == processes.this_process():
        return label(lease, HOLDER) not in _held_tokens
    return processes.is_alive(process) is False


def _process(lease: Lease) -> str:
    return annotation(lease, PROCESS) or ""


def _is_abandoned(lease: Lease, unchanged: float) -> bool:
    """Whether the Lease may be taken over after UNCHANGED seconds without a renewal.

    UNCHANGED is measured here, because other machines' clocks may be wrong.
    """
    duration = lease.spec.lease_duration_seconds
    return is_orphan(lease) or unchanged > (LEASE_SECONDS if duration is None else duration)


def _holder(lease: Lease) -> str:
    return lease.spec.holder_identity or "another caller"


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
