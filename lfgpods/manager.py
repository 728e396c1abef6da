"""The use cases: ensure, exec, delete, status, list. The only place that brings store, manifests and kubectl together.

The cluster is the truth; the store remembers. Everything is safe to call again after whatever happened before.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lfgpods import manifests, podexec, upkeep
from lfgpods.cluster import Cluster
from lfgpods.errors import (
    LfgpodsError,
    OutcomeUnknownError,
    PodNotFoundError,
    PodNotRunningError,
    TimeLimitError,
)
from lfgpods.events import Action, Event
from lfgpods.garbage import Orphan, Surroundings, find_orphans
from lfgpods.hosts import connect
from lfgpods.labels import Object, is_managed
from lfgpods.naming import Owner, names_of
from lfgpods.observe import attainable
from lfgpods.pod import Pod
from lfgpods.podexec import Command, ExecResult, Sink, Source
from lfgpods.recording import failures_remembered, only_logged, recorded
from lfgpods.removal import TIMEOUT, Deletion
from lfgpods.rollout import OnStep, wait_ready
from lfgpods.settings import Settings, load_settings
from lfgpods.spec import Request
from lfgpods.state import Snapshot, State
from lfgpods.text import mask
from lfgpods.upkeep import Synced

if TYPE_CHECKING:
    from lfgpods.hosts import Host
    from lfgpods.lock import OwnerLock
    from lfgpods.store import Store


def _silent(step: str) -> None:
    """Nobody is watching."""


class PodManager:
    """Pods of projects and conversations on one Kubernetes host.

    Every method raises LfgpodsError and its children, never anything of the libraries below. Use it as a context
    manager or call close(); it connects with the first method that needs the host, and reconnects if need be.
    """

    def __init__(self, settings: Settings | None = None, *, host: Host | None = None) -> None:
        self._settings = settings = settings or load_settings()
        if settings.ssh:
            mask([settings.ssh.key_string, settings.ssh.key_passphrase])
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
        wanted = request.over(self._settings.defaults)
        _check_conversation(conversation_id)
        deadline = time.monotonic() + (self._settings.timeout if timeout is None else timeout)
        remembered = self._store.find(owner)
        pod_name = remembered.pod_name if remembered else None
        on_step("looking at what is there")
        if pod_name is not None:
            snapshot = self._cluster.snapshot(owner, pod_name)
            if running := self._left_as_it_is(owner, snapshot, request, update, conversation_id):
                return running
        left = max(1.0, deadline - time.monotonic())
        with self._cluster.locked(owner, left, on_step, pod_name=pod_name, to_render=wanted) as (lock, snapshot):
            notices: tuple[str, ...] = ()
            snapshot = self._cluster.keep(owner, snapshot)
            if found := self._cluster.removal.end_interrupted_purge(owner, snapshot, lock, TIMEOUT, on_step):
                notices, snapshot = (found,), self._cluster.snapshot(owner)
            if running := self._left_as_it_is(owner, snapshot, request, update, conversation_id):
                return replace(running, notices=notices)
            spec, _ = attainable(request, self._cluster.pod(owner, snapshot).spec, snapshot)
            if spec.storage_class and remembered and not snapshot.exists:
                self._cluster.removal.check_no_folder(owner, remembered.volume)
            self._cluster.check_reach(snapshot, spec, on_step)
            snapshot = self._cluster.settle(owner, snapshot, left, on_step)
            until = deadline if wait else None
            pod = self._bring_up(owner, request, conversation_id, snapshot, lock, until, on_step)
        return replace(pod, notices=notices + pod.notices)

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

        pod_name = known or self._running_pod(owner)
        try:
            try:
                code = run_in(pod_name)
            except PodNotRunningError:
                if known is None:
                    raise
                pod_name = self._running_pod(owner)  # the pod was replaced; nothing has run yet
                code = run_in(pod_name)
        except (TimeLimitError, OutcomeUnknownError) as error:
            error.stdout, error.stderr = bytes(stdout), bytes(stderr)
            if isinstance(error, OutcomeUnknownError) and not error.link_lost:
                self._tell_of_replacement(owner, pod_name, error)
            raise
        with only_logged():
            self._store.touch(owner)
        return ExecResult(code, bytes(stdout), bytes(stderr))

    def delete(
        self, owner: Owner, *, purge: bool = False, timeout: float = TIMEOUT, on_step: OnStep = _silent
    ) -> Deletion:
        """Take OWNER's pod away and keep the data; with PURGE the data and every trace of it too.

        Works from any state and may be repeated. Raises PodNotFoundError when there is nothing at all, not even
        a record; TimeLimitError when something in the cluster holds on for longer than TIMEOUT seconds.
        """
        remembered = self._store.find(owner)
        on_step("looking at what is there")
        with self._cluster.locked(owner, timeout, on_step) as (lock, snapshot):
            pod = self._cluster.pod(owner, snapshot)
            if not (snapshot.exists or remembered or (purge and self._cluster.removal.has_folder(owner))):
                raise _no_such_pod(owner)
            with recorded(self._store, Action.PURGE if purge else Action.DELETE, owner):
                removal = self._cluster.removal
                snapshot = self._cluster.keep(owner, snapshot)
                if not purge and removal.end_interrupted_purge(owner, snapshot, lock, timeout, on_step):
                    snapshot = self._cluster.snapshot(owner)
                lock.check()
                if purge:
                    removal.purge(owner, snapshot, lock, timeout, on_step)
                else:
                    removal.delete(owner, snapshot, timeout, on_step)
            with only_logged():
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

    def history(self, owner: Owner | None = None, limit: int = 50) -> Sequence[Event]:
        """What was changed, by whom and how it ended, newest first; of OWNER or of all. Asks nobody but the store."""
        return self._store.events(owner, limit)

    def list(self) -> list[Pod]:
        """Every pod and kept volume of this host, by namespace; the store is put right by what is found.

        When nobody answers: what is remembered, all of it `unknown`.
        """
        try:
            found = self._cluster.pods()
        except LfgpodsError as error:
            remembered = self._store.all()
            if remembered and _is_silence(error):
                return [replace(pod, status=State.UNKNOWN, reason=error.message) for pod in remembered]
            raise
        used: dict[Owner, str | None] = {}
        with only_logged():
            upkeep.put_right(self._store, found)
            used = {pod.owner: pod.last_used_at for pod in self._store.all()}
        return [replace(pod, last_used_at=used.get(pod.owner)) for pod in found]

    def sync(self) -> Synced:
        """Compare store, cluster and volume folders, and repair the store; an empty one is rebuilt whole."""
        with recorded(self._store, Action.SYNC, None):
            return upkeep.sync(self._cluster, self._store, self._settings.volume_root)

    def gc(
        self, *, apply: bool = False, purge_older_than: float | None = None, on_step: OnStep = _silent
    ) -> Sequence[Orphan]:
        """What belongs to nobody; with APPLY what of it is proven to be lfgpods' own is removed.

        Kept volumes of deleted pods are among it only where nothing has used them for PURGE_OLDER_THAN seconds.
        """
        on_step("looking at what is there")
        around = upkeep.look_around(self._cluster, self._store, self._settings.volume_root, purge_older_than)
        found = find_orphans(around)
        if not apply:
            return found
        return [self._remove(orphan, around, on_step) if orphan.removable else orphan for orphan in found]

    # What the use cases are made of.

    def _bring_up(
        self,
        owner: Owner,
        request: Request,
        conversation_id: str | None,
        snapshot: Snapshot,
        lock: OwnerLock,
        until: float | None,
        on_step: OnStep,
    ) -> Pod:
        """Apply what REQUEST makes of the pod in SNAPSHOT, give LOCK back, and wait UNTIL a moment or not at all."""
        pod = self._cluster.pod(owner, snapshot)
        spec, differences = attainable(request, pod.spec, snapshot)
        drawn = self._cluster.render(owner, spec, conversation_id or pod.conversation_id, snapshot)
        action = Action.UPDATE if pod.status is State.RUNNING else Action.CREATE
        intent = replace(pod, status=State.CREATING, reason="", spec=spec, pod_name=None)
        root_is_made = self._store.has_volumes_in(self._settings.volume_root)
        with recorded(self._store, action, owner, spec.image), failures_remembered(self._store, intent):
            self._store.remember(intent)
            lock.check()
            made, notices = self._cluster.apply(owner, drawn, snapshot, on_step, root_is_made=root_is_made)
            lock.release_soon()
            if until is not None:
                left = max(1.0, until - time.monotonic())
                of_class = drawn.volume is None
                ready = wait_ready(
                    self._cluster.kubectl, names_of(owner), drawn.revision, left, on_step, provisioned=of_class
                )
                made = replace(made, pods=(ready,))
            made = self._cluster.keep(owner, made)
            pod = self._remembered(self._cluster.pod(owner, made))
        return replace(pod, differences=differences, notices=notices)

    def _left_as_it_is(
        self, owner: Owner, snapshot: Snapshot, request: Request, update: bool, conversation_id: str | None
    ) -> Pod | None:
        """The pod, if it runs and nothing is to be changed; with what is otherwise than asked for."""
        pod = self._cluster.pod(owner, snapshot)
        if pod.status is not State.RUNNING:
            return None
        pod = self._cluster.pod(owner, self._cluster.keep(owner, snapshot))
        differences = request.differences(pod.spec)
        if differences and update:
            return None
        if not is_managed(snapshot.namespace or {}):
            drawn = self._cluster.render(owner, pod.spec, conversation_id or pod.conversation_id, snapshot)
            self._cluster.label(drawn, snapshot)
        return replace(self._remembered(pod), differences=differences)

    def _remove(self, orphan: Orphan, around: Surroundings, on_step: OnStep) -> Orphan:
        """ORPHAN with what became of it."""
        try:
            with recorded(self._store, Action.GC, orphan.owner, f"{orphan.kind} {orphan.name}"):
                upkeep.remove(self._cluster, self._store, orphan, around, on_step)
        except LfgpodsError as error:
            return replace(orphan, error=error.message)
        return replace(orphan, removed=True)

    def _tell_of_replacement(self, owner: Owner, pod_name: str, error: OutcomeUnknownError) -> None:
        """Raise an error of its own if the pod in which the command ran is not there any more."""
        try:
            became = self._cluster.what_became_of(owner, pod_name)
        except LfgpodsError:
            return
        if became is None:
            return
        gone = OutcomeUnknownError(
            f"outcome unknown: the pod {pod_name} was {became} during the command",
            "It may have run in part; check what it did before you run it again. The files are kept.",
            code="pod_replaced",
        )
        gone.stdout, gone.stderr = error.stdout, error.stderr
        raise gone from error

    def _remembered(self, pod: Pod) -> Pod:
        """POD, written to the store, with the time of its last use from there."""
        with only_logged():
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
        hint = f"Bring it back: lfgpods create {owner.option}"
        if pod.status is State.UNKNOWN:
            hint = "The files are kept, and it runs again once its node answers: kubectl get nodes"
        raise PodNotRunningError(f"the pod of {owner} is {pod.status}{why}", hint)


def render(
    settings: Settings, owner: Owner, request: Request = Request(), *, conversation_id: str | None = None
) -> tuple[Object, ...]:
    """The objects that a first create of OWNER's pod would apply. Touches nothing, connects to nothing."""
    _check_conversation(conversation_id)
    return manifests.render(
        owner,
        names_of(owner),
        request.over(settings.defaults),
        volume_root=settings.volume_root,
        conversation_id=conversation_id,
        templates=settings.templates,
        hardening=settings.hardening,
    ).objects


def _check_conversation(id: str | None) -> None:
    """Raise UsageError for what can name no conversation; it is written down beside the project's id."""
    if id is not None:
        Owner.conversation(id)


_SILENCE = ("host_unreachable", "host_lost", "busy", "cluster_unreachable", "time_limit")


def _is_silence(error: LfgpodsError) -> bool:
    """Whether the error says nothing about the pod, only that nobody answers for now."""
    return error.code in _SILENCE


def _no_such_pod(owner: Owner) -> PodNotFoundError:
    return PodNotFoundError(f"there is no pod and no volume of {owner}", f"Make one: lfgpods create {owner.option}")
