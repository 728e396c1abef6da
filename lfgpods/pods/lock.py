"""One caller at a time for each owner, however many machines they are on: a Lease in the cluster is the lock.

Held while an owner's objects are looked at and changed, not while a pod is waited for. The Lease of a holder that
is gone is taken over: at once where its process is known to be dead, else when it was not renewed for its time.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from lfgpods.core import processes
from lfgpods.core.errors import KubernetesError, LfgpodsError, TimeLimitError
from lfgpods.core.objects import Object, metadata
from lfgpods.core.owners import Names
from lfgpods.core.progress import OnStep
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.labels import MANAGED_BY, MANAGER

HOLDER = "lfgpods.io/holder"
PROCESS = "lfgpods.io/process"
LEASE_SECONDS = 20
RENEW_EVERY = 6.0
RELEASE_GRACE = 1.0
"""Seconds that the last command of a holder that was killed, or gave its lock back, is given to end on the host."""
_POLL = (0.1, 0.2, 0.4, 0.8)

log = logging.getLogger(__name__)

_in_use: set[str] = set()
"""The tokens of this process's own locks, by which a Lease that an error left behind is told from one that is held."""


class OwnerLock:
    """The lock of one owner's objects.

    `found` holds the objects of REFERENCES as they were when the lock had been taken. The two are one round trip, and
    so are the commands BESIDE them; `said` is what those wrote, nothing where the lock had to be taken over. MEANWHILE
    is called while the answer is waited for.
    """

    def __init__(
        self,
        kubectl: Kubectl,
        names: Names,
        references: Sequence[str],
        *,
        namespace: str,
        timeout: float,
        on_step: OnStep,
        beside: Sequence[Sequence[str]] = (),
        meanwhile: Callable[[], object] | None = None,
    ) -> None:
        self.found: list[Object] = []
        self.said = ""
        self._kubectl = kubectl
        self._references = references
        self._beside = beside
        self._meanwhile = meanwhile
        self._names = names
        self._namespace = namespace
        self._timeout = timeout
        self._on_step = on_step
        self._name = f"lfgpods-{names.namespace}"
        self._token = secrets.token_hex(8)
        self._version = ""
        self._renewed = 0.0
        self._released = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="lfgpods-lock", daemon=True)

    def take(self) -> None:
        """Wait for the lock and take it.

        Raises TimeLimitError that names the holder after the timeout, KubernetesError if the cluster refuses.
        """
        _in_use.add(self._token)
        try:
            self._take(time.monotonic() + self._timeout)
        except BaseException:
            _in_use.discard(self._token)
            raise
        self._keeper.start()

    def release(self) -> None:
        """Give the lock back. Raises nothing: a Lease that stays expires."""
        if not self._released.is_set():
            self.released()
            try:
                self._kubectl.delete_selected(*self._selection)
            except LfgpodsError as error:
                log.warning(
                    "the lock of %s was not given back, and will expire: %s", self._names.namespace, error.message
                )
        self._keeper.join()

    @property
    def release_command(self) -> tuple[str, ...]:
        """The command that gives the lock back, to go behind the last change in its round trip; see `released`."""
        return self._kubectl.delete_selected_command(*self._selection)

    def released(self) -> None:
        """Take note that the lock was given back by `release_command`."""
        self._released.set()
        _in_use.discard(self._token)

    def check(self) -> None:
        """Raise KubernetesError unless the lock is still held: to be asked before what cannot be undone."""
        if self._released.is_set() or _clock_that_counts_sleep() - self._renewed > LEASE_SECONDS:
            raise KubernetesError(
                f"the lock of {self._names.namespace} was lost on the way",
                "The cluster did not answer for a while. Do the same again; it goes on where this ended.",
                code="lock_lost",
            )

    def _take(self, deadline: float) -> None:
        seen: tuple[str, float] | None = None
        polls = iter(_POLL)
        while True:
            asked = _clock_that_counts_sleep()
            try:
                lease, self.found, self.said = self._kubectl.create_and_get(
                    self._lease(),
                    self._references,
                    self._names.namespace,
                    beside=self._beside,
                    meanwhile=self._meanwhile,
                )
                return self._held(lease, asked)
            except KubernetesError as error:
                if error.code != "already_exists":
                    raise
            held = next(iter(self._kubectl.get([f"lease/{self._name}"], self._namespace)), None)
            if held is not None:
                version = held["metadata"].get("resourceVersion", "")
                if seen is None or seen[0] != version:
                    seen = (version, _clock_that_counts_sleep())
                asked = _clock_that_counts_sleep()
                if _is_abandoned(held, asked - seen[1]) and (taken := self._take_over(held)):
                    self._released.wait(RELEASE_GRACE)
                    self.found = self._kubectl.get(self._references, self._names.namespace)
                    return self._held(taken, asked)
            holder = _holder(held) if held else "somebody"
            left = deadline - time.monotonic()
            may_expire = held is not None and processes.is_alive(metadata(held, "annotations").get(PROCESS, "")) is None
            if left <= (-LEASE_SECONDS - _POLL[-1] if may_expire else 0):
                raise TimeLimitError(
                    f"{holder} is changing {self._names.namespace}, and has not ended within {self._timeout:.0f} s",
                    "Wait for it, or end it; a lock whose holder is gone is taken over by itself.",
                )
            self._on_step(f"waiting for {holder}")
            self._released.wait(next(polls, _POLL[-1]))

    def _take_over(self, held: Object) -> Object | None:
        """The abandoned Lease, now ours; None where somebody else was first."""
        log.info("taking over the lock of %s from %s, which is gone", self._names.namespace, _holder(held))
        wanted = self._lease()
        wanted["metadata"]["resourceVersion"] = held["metadata"].get("resourceVersion", "")
        try:
            return self._kubectl.patch(f"lease/{self._name}", self._namespace, wanted)
        except KubernetesError as error:
            if error.code not in ("conflict", "not_found"):
                raise
            return None

    def _held(self, lease: Object, asked: float) -> None:
        """The Lease is ours, and its time runs since at least the moment when it was ASKED for."""
        self._version = lease["metadata"].get("resourceVersion", "")
        self._renewed = asked

    def _keep(self) -> None:
        """Renew the Lease until it is given back; where that fails, `check` will say so."""
        while not self._released.wait(RENEW_EVERY):
            renewal = {"metadata": {"resourceVersion": self._version}, "spec": {"renewTime": _now()}}
            asked = _clock_that_counts_sleep()
            try:
                self._held(self._kubectl.patch(f"lease/{self._name}", self._namespace, renewal), asked)
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
            for lease in self._kubectl.get([f"lease/{self._name}"], self._namespace):
                if metadata(lease, "labels").get(HOLDER) == self._token:
                    self._version = lease["metadata"].get("resourceVersion", "")
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
                "labels": {MANAGED_BY: MANAGER, HOLDER: self._token},
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


def is_orphan(lease: Object) -> bool:
    """Whether the process that a Lease names is known to be dead, or is this one and does not hold it."""
    process = metadata(lease, "annotations").get(PROCESS, "")
    if process == processes.this_process():
        return metadata(lease, "labels").get(HOLDER) not in _in_use
    return processes.is_alive(process) is False


def _is_abandoned(lease: Object, unchanged: float) -> bool:
    """Whether the Lease may be taken over, given for how many seconds nobody was seen to renew it.

    No clock of another machine is trusted.
    """
    duration = (lease.get("spec") or {}).get("leaseDurationSeconds")
    return is_orphan(lease) or unchanged > (duration if isinstance(duration, int) else LEASE_SECONDS)


def _holder(lease: Object) -> str:
    return str((lease.get("spec") or {}).get("holderIdentity") or "somebody")


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
