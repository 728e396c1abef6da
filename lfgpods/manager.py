"""The use cases: ensure, exec, delete, status, list. The only place that brings store, manifests and kubectl together.

The cluster is the truth; the store remembers. Everything is safe to call again after whatever happened before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lfgpods import manifests, podexec
from lfgpods.cluster import DELETE_TIMEOUT, Cluster
from lfgpods.errors import (
    KubernetesError,
    LfgpodsError,
    OutcomeUnknownError,
    PodNotFoundError,
    PodNotRunningError,
    StoreError,
    TimeLimitError,
)
from lfgpods.hosts import connect
from lfgpods.labels import Object, is_managed
from lfgpods.naming import Owner, names_of
from lfgpods.pod import Pod
from lfgpods.podexec import Command, Sink, Source
from lfgpods.rollout import OnStep, wait_ready
from lfgpods.settings import Settings, load_settings
from lfgpods.spec import PodSpec, Request, same_quantity
from lfgpods.state import Snapshot, State

if TYPE_CHECKING:
    from lfgpods.hosts import Host
    from lfgpods.store import Store


log = logging.getLogger("lfgpods")


@dataclass(frozen=True)
class ExecResult:
    """How a command ended, with all that it wrote."""

    exit_code: int
    stdout: bytes
    stderr: bytes

    def __bool__(self) -> bool:
        return self.exit_code == 0


@dataclass(frozen=True)
class Deletion:
    """What was taken away: the pod, and with `purged` the data in `volume` too."""

    owner: Owner
    namespace: str
    volume: str
    purged: bool


def _silent(step: str) -> None:
    """Nobody is watching."""


class PodManager:
    """Pods of projects and conversations on one Kubernetes host.

    Every method raises LfgpodsError and its children, never anything of the libraries below. Use it as a context
    manager or call close(); it connects with the first method that needs the host, and reconnects if need be.
    """

    def __init__(self, settings: Settings | None = None, *, host: Host | None = None) -> None:
        self._settings = settings or load_settings()
        self._host = host or connect(self._settings)
        self._cluster = Cluster(self._host, self._settings)
        self._opened_store: Store | None = None

    def __enter__(self) -> PodManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connection and the database."""
        self._host.close()
        if self._opened_store is not None:
            self._opened_store.close()
            self._opened_store = None

    @property
    def _store(self) -> Store:
        if self._opened_store is None:
            from lfgpods.store import Store

            self._opened_store = Store(self._settings.database, self._host.name)
        return self._opened_store

    def ensure(
        self,
        owner: Owner,
        request: Request = Request(),
        *,
        conversation_id: str | None = None,
        update: bool = False,
        wait: bool = True,
        timeout: float | None = None,
        on_step: OnStep = _silent,
    ) -> Pod:
        """OWNER's running pod: the one that is there, or one that is made or brought back on the same volume.

        Where a pod runs and REQUEST asks for something else, the pod is returned as it is with `differences`,
        and changed only with UPDATE. TIMEOUT in seconds bounds the wait for the pod; without WAIT there is none.
        """
        request.over(self._settings.defaults)
        timeout = self._settings.timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        remembered = self._store.find(owner)
        on_step("looking at what is there")
        snapshot = self._cluster.snapshot(owner, remembered.pod_name if remembered else None)
        snapshot = self._cluster.settle(owner, snapshot, timeout, on_step)
        pod = self._cluster.pod(owner, snapshot)
        conversation_id = conversation_id or pod.conversation_id
        if pod.status is State.RUNNING:
            differences = request.differences(pod.spec)
            if not (differences and update):
                if not is_managed(snapshot.namespace or {}):
                    self._cluster.label(self._cluster.render(owner, pod.spec, conversation_id, snapshot), snapshot)
                return replace(self._remembered(pod), differences=differences)
        differences = ()
        spec = request.over(pod.spec)
        if snapshot.volume and not same_quantity(spec.storage_size, pod.spec.storage_size):
            differences = (f"storage size is {pod.spec.storage_size} and cannot be changed to {spec.storage_size}",)
            spec = replace(spec, storage_size=pod.spec.storage_size)
        made = self._bring_up(pod, spec, conversation_id, snapshot, deadline if wait else None, on_step)
        return replace(self._remembered(made), differences=differences)

    def exec(
        self,
        owner: Owner,
        command: Command,
        *,
        stdin: Source | None = None,
        timeout: float | None = None,
        on_stdout: Sink | None = None,
        on_stderr: Sink | None = None,
    ) -> ExecResult:
        """Run COMMAND in OWNER's pod; its exit code and output, where no sink takes the output as it comes.

        Raises PodNotFoundError, PodNotRunningError, TimeLimitError (the command was ended) or OutcomeUnknownError
        (it may have run); the last two hold the output so far.
        """
        stdout, stderr = bytearray(), bytearray()
        remembered = self._store.find(owner)
        known = remembered.pod_name if remembered and remembered.status is State.RUNNING else None

        def run_in(pod_name: str) -> int:
            return podexec.execute(
                self._cluster.kubectl,
                names_of(owner).namespace,
                pod_name,
                command,
                stdin=stdin,
                timeout=timeout,
                on_stdout=on_stdout or stdout.extend,
                on_stderr=on_stderr or stderr.extend,
            )

        try:
            try:
                code = run_in(known or self._running_pod(owner))
            except PodNotRunningError:
                if known is None:
                    raise
                code = run_in(self._running_pod(owner))  # the pod was replaced; nothing has run yet
        except (TimeLimitError, OutcomeUnknownError) as error:
            error.stdout, error.stderr = bytes(stdout), bytes(stderr)
            raise
        with _only_logged():
            self._store.touch(owner)
        return ExecResult(code, bytes(stdout), bytes(stderr))

    def delete(
        self, owner: Owner, *, purge: bool = False, timeout: float = DELETE_TIMEOUT, on_step: OnStep = _silent
    ) -> Deletion:
        """Take OWNER's pod away and keep the data; with PURGE the data and every trace of it too.

        Works from any state and may be repeated. Raises PodNotFoundError when there is nothing at all, not even
        a record; TimeLimitError when something in the cluster holds on for longer than TIMEOUT seconds.
        """
        remembered = self._store.find(owner)
        on_step("looking at what is there")
        snapshot = self._cluster.snapshot(owner)
        if not snapshot.exists and remembered is None:
            raise _no_such_pod(owner)
        pod = self._cluster.pod(owner, snapshot)
        if purge:
            self._cluster.purge(owner, snapshot, timeout, on_step)
        else:
            self._cluster.delete(owner, snapshot, timeout, on_step)
        with _only_logged():
            if purge or not (snapshot.volume or snapshot.claim):
                self._store.forget([owner])
            else:
                self._store.remember(pod.without_workload())
        return Deletion(owner, pod.namespace, pod.volume, purged=purge)

    def status(self, owner: Owner) -> Pod:
        """OWNER's pod as the cluster has it now; as remembered and `unknown` when nobody answers.

        Raises PodNotFoundError when there is none, and puts the store right either way.
        """
        remembered = self._store.find(owner)
        try:
            snapshot = self._cluster.snapshot(owner, remembered.pod_name if remembered else None)
        except LfgpodsError as error:
            if remembered and _is_silence(error):
                return replace(remembered, status=State.UNKNOWN, reason=error.message)
            raise
        if not snapshot.exists:
            self._store.forget([owner])
            raise _no_such_pod(owner)
        return self._remembered(self._cluster.pod(owner, snapshot))

    def list(self) -> list[Pod]:
        """Every pod and kept volume of this host, by namespace; the store is put right by what is found.

        When nobody answers: what is remembered, all of it `unknown`.
        """
        remembered = {pod.owner: pod for pod in self._store.all()}
        try:
            found = self._cluster.pods()
        except LfgpodsError as error:
            if remembered and _is_silence(error):
                return [replace(pod, status=State.UNKNOWN, reason=error.message) for pod in remembered.values()]
            raise
        gone = set(remembered) - {pod.owner for pod in found}
        with _only_logged():
            self._store.remember(*found)
            self._store.forget(owner for owner in gone if remembered[owner].status is not State.CREATING)
        used = {owner: pod.last_used_at for owner, pod in remembered.items()}
        return [replace(pod, last_used_at=used.get(pod.owner)) for pod in found]

    # What the use cases are made of.

    def _bring_up(
        self,
        pod: Pod,
        spec: PodSpec,
        conversation_id: str | None,
        snapshot: Snapshot,
        deadline: float | None,
        on_step: OnStep,
    ) -> Pod:
        """Make the pod that SPEC describes and wait until DEADLINE for it, or not at all where that is None."""
        owner = pod.owner
        drawn = self._cluster.render(owner, spec, conversation_id, snapshot)
        intent = replace(pod, status=State.CREATING, reason="", spec=spec, pod_name=None)
        self._store.remember(intent)
        try:
            made = self._cluster.apply(owner, drawn, snapshot, on_step)
            if deadline is not None:
                left = max(1.0, deadline - time.monotonic())
                ready = wait_ready(self._cluster.kubectl, names_of(owner), drawn.revision, left, on_step)
                made = replace(made, pods=(ready,))
        except TimeLimitError as error:
            self._store.remember(replace(intent, reason=error.message))
            raise
        except KubernetesError as error:
            self._store.remember(replace(intent, status=State.FAILED, reason=error.message))
            raise
        return self._cluster.pod(owner, made)

    def _remembered(self, pod: Pod) -> Pod:
        """POD, written to the store, with the time of its last use from there."""
        with _only_logged():
            self._store.remember(pod)
            found = self._store.find(pod.owner)
            return replace(pod, last_used_at=found.last_used_at if found else None)
        return pod

    def _running_pod(self, owner: Owner) -> str:
        """The name of the pod to run a command in. Raises PodNotFoundError or PodNotRunningError that says why not."""
        snapshot = self._cluster.snapshot(owner)
        if not snapshot.exists:
            self._store.forget([owner])
            raise _no_such_pod(owner)
        pod = self._remembered(self._cluster.pod(owner, snapshot))
        if pod.status is State.RUNNING and pod.pod_name:
            return pod.pod_name
        why = f": {pod.reason}" if pod.reason else ""
        raise PodNotRunningError(
            f"the pod of {owner} is {pod.status}{why}", f"Bring it back: lfgpods create {owner.option}"
        )


def render(
    settings: Settings, owner: Owner, request: Request = Request(), *, conversation_id: str | None = None
) -> tuple[Object, ...]:
    """The objects that a first create of OWNER's pod would apply. Touches nothing, connects to nothing."""
    return manifests.render(
        owner,
        names_of(owner),
        request.over(settings.defaults),
        volume_root=settings.volume_root,
        conversation_id=conversation_id,
        templates=settings.templates,
    ).objects


@contextmanager
def _only_logged() -> Iterator[None]:
    """For what is remembered of something that is done: that it cannot be written down does not undo it."""
    try:
        yield
    except StoreError as error:
        log.warning("%s", error.message)


_SILENCE = ("host_unreachable", "host_lost", "busy", "cluster_unreachable", "time_limit")


def _is_silence(error: LfgpodsError) -> bool:
    """Whether the error says nothing about the pod, only that nobody answers for now."""
    return error.code in _SILENCE


def _no_such_pod(owner: Owner) -> PodNotFoundError:
    return PodNotFoundError(f"there is no pod and no volume of {owner}", f"Make one: lfgpods create {owner.option}")
