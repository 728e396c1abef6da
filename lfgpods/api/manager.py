"""The use cases: ensure, exec, delete, status, list. The only place that brings store, manifests and kubectl together.

The cluster is the truth; the store remembers. Everything is safe to call again after whatever happened before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from lfgpods.core.changes import Action, Event
from lfgpods.core.errors import LfgpodsError, PodNotFoundError, is_silence
from lfgpods.core.owners import Owner, names_of
from lfgpods.core.pod import Pod, no_such_pod
from lfgpods.core.settings import Settings, load_settings
from lfgpods.core.spec import Request
from lfgpods.core.text import mask
from lfgpods.exec.command import Command, ExecResult, Sink, Source
from lfgpods.exec.pool import Shells
from lfgpods.fleet import sync
from lfgpods.fleet.orphans import Orphan, Surroundings, find_orphans
from lfgpods.fleet.sync import Synced
from lfgpods.hosts import connect
from lfgpods.kube.diagnosis import Snapshot, State
from lfgpods.kube.labels import Object, is_managed
from lfgpods.pods import manifests
from lfgpods.pods.executor import Executor
from lfgpods.pods.reader import Cluster
from lfgpods.pods.remover import TIMEOUT, Deletion, is_marked_deleted
from lfgpods.pods.rollout import OnStep, wait_ready
from lfgpods.pods.status import attainable
from lfgpods.store.journal import failures_remembered, only_logged, recorded, written_down

if TYPE_CHECKING:
    from lfgpods.hosts import Host
    from lfgpods.pods.lock import OwnerLock
    from lfgpods.store import Store

IDLE_SECONDS = 60.0
"""For how long a shell in a pod waits for a next command, where LFGPODS_KEEP does not say."""


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
        self._shells = Shells(self._host, self._cluster.kubectl, idle_seconds=settings.keep or IDLE_SECONDS)
        self._executor = Executor(self._cluster, self._shells, lambda: self._store)
        self._opened_store: Store | None = None
        self._opening = threading.Lock()

    def __enter__(self) -> PodManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the connection and the database."""
        self._shells.close()
        self._host.close()
        if self._opened_store is not None:
            self._opened_store.close()
            self._opened_store = None

    @property
    def host_name(self) -> str:
        """How messages and the store call the Kubernetes host."""
        return self._host.name

    @property
    def _store(self) -> Store:
        with self._opening:
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
            if not is_marked_deleted(snapshot) and (
                running := self._left_as_it_is(owner, snapshot, request, update, conversation_id)
            ):
                return running
        left = max(1.0, deadline - time.monotonic())
        with self._cluster.locked(owner, left, on_step, pod_name=pod_name, to_render=wanted) as (lock, snapshot):
            notices: tuple[str, ...] = ()
            snapshot = self._cluster.keep(owner, snapshot)
            if found := self._cluster.removal.end_interrupted_purge(owner, snapshot, lock, TIMEOUT, on_step):
                notices, snapshot = (found,), self._cluster.snapshot(owner)
            if running := self._left_as_it_is(owner, snapshot, request, update, conversation_id):
                self._cluster.removal.unmark(owner, snapshot)
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
        cancelled: threading.Event | None = None,
    ) -> ExecResult:
        """Run COMMAND in OWNER's pod; its exit code and output, where no sink takes the output as it comes.

        CANCELLED, once set by another thread, ends the command.

        Raises PodNotFoundError, PodNotRunningError, TimeLimitError (the command was ended) or OutcomeUnknownError
        (it may have run); the last two hold the output so far.
        """
        return self._executor.run(
            owner,
            command,
            stdin=stdin,
            timeout=timeout,
            on_stdout=on_stdout,
            on_stderr=on_stderr,
            cancelled=cancelled,
        )

    def delete(
        self, owner: Owner, *, purge: bool = False, timeout: float = TIMEOUT, on_step: OnStep = _silent
    ) -> Deletion:
        """Take OWNER's pod away and keep the data; with PURGE the data and every trace of it too.

        Works from any state and may be repeated. Raises PodNotFoundError when there is nothing at all, not even
        a record; TimeLimitError when something in the cluster holds on for longer than TIMEOUT seconds.
        """
        known = self._store.find(owner)
        on_step("looking at what is there")
        with self._cluster.locked(owner, timeout, on_step) as (lock, snapshot):
            pod = self._cluster.pod(owner, snapshot)
            if not (snapshot.exists or known or (purge and self._cluster.removal.has_folder(owner))):
                raise no_such_pod(owner)
            with recorded(self._store, Action.PURGE if purge else Action.DELETE, owner):
                removal = self._cluster.removal
                snapshot = self._cluster.keep(owner, snapshot)
                if not purge and removal.end_interrupted_purge(owner, snapshot, lock, timeout, on_step):
                    snapshot = self._cluster.snapshot(owner)
                lock.check()
                self._shells.close(pod.namespace)
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
            if remembered and is_silence(error):
                return replace(remembered, status=State.UNKNOWN, reason=error.message)
            raise
        if not snapshot.exists:
            self._store.forget([owner])
            raise no_such_pod(owner)
        snapshot = self._cluster.keep_if_possible(owner, snapshot)
        return written_down(self._store, self._cluster.pod(owner, snapshot))

    def history(self, owner: Owner | None = None, limit: int = 50) -> Sequence[Event]:
        """What was changed, by whom and how it ended, newest first; of OWNER or of all. Asks nobody but the store."""
        return self._store.events(owner, limit)

    def list(self, owner: Owner | None = None, *, status: State | None = None) -> list[Pod]:
        """Every pod and kept volume of this host, by namespace; the store is put right by what is found.

        Only OWNER's, which costs as little as `status`, and only those with STATUS. When nobody answers: what is
        remembered, all of it `unknown`, and whatever STATUS is asked for, as it may be any.
        """
        pods: Sequence[Pod] = ()
        with suppress(PodNotFoundError):
            pods = self._all() if owner is None else [self.status(owner)]
        return [pod for pod in pods if status in (None, pod.status) or pod.status is State.UNKNOWN]

    def sync(self) -> Synced:
        """Compare store, cluster and volume folders, and repair the store; an empty one is rebuilt whole."""
        with recorded(self._store, Action.SYNC, None):
            return sync.sync(self._cluster, self._store, self._settings.volume_root)

    def gc(
        self, *, apply: bool = False, purge_older_than: float | None = None, on_step: OnStep = _silent
    ) -> Sequence[Orphan]:
        """What belongs to nobody; with APPLY what of it is proven to be lfgpods' own is removed.

        Kept volumes of deleted pods are among it only where nothing has used them for PURGE_OLDER_THAN seconds.
        """
        on_step("looking at what is there")
        around = sync.look_around(self._cluster, self._store, self._settings.volume_root, purge_older_than)
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
            self._shells.close(pod.namespace)
            made, notices = self._cluster.apply(owner, drawn, snapshot, lock, on_step, root_is_made=root_is_made)
            if until is not None:
                left = max(1.0, until - time.monotonic())
                of_class = drawn.volume is None
                try:
                    ready = wait_ready(
                        self._cluster.kubectl, names_of(owner), drawn.revision, left, on_step, provisioned=of_class
                    )
                except LfgpodsError:
                    self._cluster.keep_if_possible(owner, made)  # the pod may come up yet, and files into its volume
                    raise
                made = replace(made, pods=(ready,))
            made = self._cluster.keep(owner, made)
            pod = written_down(self._store, self._cluster.pod(owner, made))
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
        return replace(written_down(self._store, pod), differences=differences)

    def _all(self) -> Sequence[Pod]:
        remembered: Sequence[Pod] = ()
        with only_logged():  # before the cluster, so that what is made meanwhile is not taken for gone
            remembered = self._store.all()
        try:
            found = self._cluster.pods(len(remembered))
        except LfgpodsError as error:
            if remembered and is_silence(error):
                return [replace(pod, status=State.UNKNOWN, reason=error.message) for pod in remembered]
            raise
        used = {pod.owner: pod.last_used_at for pod in remembered}
        with only_logged():
            sync.put_right(self._store, remembered, found)
        return [replace(pod, last_used_at=used.get(pod.owner)) for pod in found]

    def _remove(self, orphan: Orphan, around: Surroundings, on_step: OnStep) -> Orphan:
        """ORPHAN with what became of it."""
        try:
            with recorded(self._store, Action.GC, orphan.owner, f"{orphan.kind} {orphan.name}"):
                sync.remove(self._cluster, self._store, orphan, around, on_step)
        except LfgpodsError as error:
            return replace(orphan, error=error.message)
        return replace(orphan, removed=True)


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
