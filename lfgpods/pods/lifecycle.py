"""The life of one owner's pod: ensure, delete, status.

The cluster is the source of truth; the store is a memory. Every operation can be repeated after any failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lfgpods.core.changes import Action
from lfgpods.core.errors import LfgpodsError
from lfgpods.core.objects import Object
from lfgpods.core.operation import Operation
from lfgpods.core.owners import Owner, names_of
from lfgpods.core.pod import Deletion, Pod, State, no_such_pod
from lfgpods.core.progress import OnStep, silent
from lfgpods.core.settings import Settings
from lfgpods.core.spec import Request
from lfgpods.exec.pool import ShellPool
from lfgpods.kube.labels import is_managed
from lfgpods.pods import manifests
from lfgpods.pods.deployer import PodDeployer
from lfgpods.pods.objects import OwnerObjects, is_marked_deleted
from lfgpods.pods.reader import PodReader
from lfgpods.pods.remover import TIMEOUT, PodRemover
from lfgpods.pods.rollout import wait_ready
from lfgpods.pods.status import plan_update
from lfgpods.store.journal import log_store_errors, record_change, record_failure, save

if TYPE_CHECKING:
    from lfgpods.pods.lock import OwnerLock
    from lfgpods.store.store import Store


@dataclass(frozen=True)
class _Wanted:
    """The arguments of `ensure`."""

    request: Request
    conversation_id: str | None
    update: bool
    wait: bool


class PodLifecycle:
    """Creates, deletes and shows the pod of one owner. Thread-safe."""

    def __init__(
        self,
        settings: Settings,
        reader: PodReader,
        remover: PodRemover,
        deployer: PodDeployer,
        shells: ShellPool,
        store: Callable[[], Store],
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._remover = remover
        self._deployer = deployer
        self._shells = shells
        self._store = store

    def ensure(
        self,
        owner: Owner,
        request: Request = Request(),
        *,
        conversation_id: str | None = None,
        update: bool = False,
        wait: bool = True,
        timeout: float | None = None,
        on_step: OnStep = silent,
    ) -> Pod:
        """Return OWNER's running pod. Creates it, or starts it again on its volume, if there is none.

        If a pod runs but REQUEST asks for something else, UPDATE changes it; otherwise it stays and `differences` says
        what differs. TIMEOUT limits the wait for the pod, in seconds; without WAIT, returns before it is ready.
        """
        wanted = _Wanted(request, conversation_id, update, wait)
        spec = request.over(self._settings.defaults)
        _check_conversation(conversation_id)
        operation = Operation(self._settings.timeout if timeout is None else timeout, on_step)
        remembered = self._store().find(owner)
        pod_name = remembered.pod_name if remembered else None
        on_step("reading the current state")
        if pod_name is not None:
            objects = self._reader.read(owner, pod_name)
            if not is_marked_deleted(objects) and (running := self._existing_pod(owner, wanted, objects)):
                return running
        taking = self._reader.locked(owner, operation.at_least(1.0), pod_name=pod_name, to_render=spec)
        with taking as (lock, objects):
            notices: tuple[str, ...] = ()
            objects = self._deployer.retain(owner, objects)
            if found := self._remover.end_interrupted_purge(owner, objects, lock, operation.within(TIMEOUT)):
                notices, objects = (found,), self._reader.read(owner)
            if running := self._existing_pod(owner, wanted, objects):
                self._remover.unmark(owner, objects)
                return replace(running, notices=notices)
            spec, _ = plan_update(request, self._reader.pod(owner, objects).spec, objects)
            if spec.storage_class and remembered and not objects.exists:
                self._remover.check_no_folder(owner, remembered.volume)
            self._deployer.check_reach(objects, spec, operation)
            objects = self._deployer.wait_for_terminations(owner, objects, operation.at_least(1.0))
            pod = self._deploy(owner, wanted, objects, lock, operation)
        return replace(pod, notices=notices + pod.notices)

    def delete(
        self, owner: Owner, *, purge: bool = False, timeout: float = TIMEOUT, on_step: OnStep = silent
    ) -> Deletion:
        """Delete OWNER's pod and keep the data; with PURGE, remove the data too.

        Works in any state and can be repeated. Raises PodNotFoundError if there is nothing to delete, not even a
        record, and TimeLimitError if something still exists after TIMEOUT seconds.
        """
        known = self._store().find(owner)
        on_step("reading the current state")
        with self._reader.locked(owner, Operation(timeout, on_step)) as (lock, objects):
            operation = Operation(timeout, on_step)  # the full timeout, however long the lock took
            pod = self._reader.pod(owner, objects)
            if not (objects.exists or known or (purge and self._remover.has_folder(owner))):
                raise no_such_pod(owner)
            with record_change(self._store(), Action.PURGE if purge else Action.DELETE, owner):
                remover = self._remover
                objects = self._deployer.retain(owner, objects)
                if not purge and remover.end_interrupted_purge(owner, objects, lock, operation):
                    objects = self._reader.read(owner)
                lock.check()
                self._shells.close(pod.namespace)
                if purge:
                    remover.purge(owner, objects, lock, operation)
                else:
                    remover.delete(owner, objects, operation)
            with log_store_errors():
                if purge or not (objects.volume or objects.claim):
                    self._store().forget([owner])
                else:
                    self._store().remember(pod.without_workload())
        return Deletion(owner, pod.namespace, pod.volume, purged=purge)

    def status(self, owner: Owner) -> Pod:
        """Return OWNER's pod as it is in the cluster, and update the store.

        If the cluster cannot be reached, returns the stored pod as `unknown`. Raises PodNotFoundError if there is none.
        """
        remembered = self._store().find(owner)
        try:
            objects = self._reader.read(owner, remembered.pod_name if remembered else None)
        except LfgpodsError as error:
            if remembered and error.is_unreachable:
                return replace(remembered, status=State.UNKNOWN, reason=error.message)
            raise
        if not objects.exists:
            self._store().forget([owner])
            raise no_such_pod(owner)
        objects = self._deployer.try_retain(owner, objects)
        return save(self._store(), self._reader.pod(owner, objects))

    def _deploy(
        self,
        owner: Owner,
        wanted: _Wanted,
        objects: OwnerObjects,
        lock: OwnerLock,
        operation: Operation,
    ) -> Pod:
        """Apply the manifests of the WANTED pod, release LOCK and, if asked to, wait until the pod is ready."""
        pod = self._reader.pod(owner, objects)
        spec, differences = plan_update(wanted.request, pod.spec, objects)
        rendered = self._deployer.render(owner, spec, wanted.conversation_id or pod.conversation_id, objects)
        action = Action.UPDATE if pod.status is State.RUNNING else Action.CREATE
        intent = replace(pod, status=State.CREATING, reason="", spec=spec, pod_name=None)
        root_is_made = self._store().has_volumes_in(self._settings.volume_root)
        with record_change(self._store(), action, owner, spec.image), record_failure(self._store(), intent):
            self._store().remember(intent)
            lock.check()
            self._shells.close(pod.namespace)
            made, notices = self._deployer.apply(owner, rendered, objects, lock, operation, root_is_made=root_is_made)
            if wanted.wait:
                of_class = rendered.volume is None
                try:
                    ready = wait_ready(
                        self._reader.kubectl,
                        names_of(owner),
                        rendered.revision,
                        operation.at_least(1.0),
                        provisioned=of_class,
                        grace=self._settings.start_grace,
                    )
                except LfgpodsError:
                    self._deployer.try_retain(owner, made)  # the pod may still start and write files
                    raise
                made = replace(made, pods=(ready,))
            made = self._deployer.retain(owner, made)
            pod = save(self._store(), self._reader.pod(owner, made))
        return replace(pod, differences=differences, notices=notices)

    def _existing_pod(self, owner: Owner, wanted: _Wanted, objects: OwnerObjects) -> Pod | None:
        """Return the pod with its differences from WANTED, or None if it does not run or has to be changed."""
        pod = self._reader.pod(owner, objects)
        if pod.status is not State.RUNNING:
            return None
        pod = self._reader.pod(owner, self._deployer.retain(owner, objects))
        differences = wanted.request.differences(pod.spec)
        if differences and wanted.update:
            return None
        if not is_managed(objects.namespace):
            rendered = self._deployer.render(owner, pod.spec, wanted.conversation_id or pod.conversation_id, objects)
            self._deployer.label(rendered, objects)
        return replace(save(self._store(), pod), differences=differences)


def render(
    settings: Settings, owner: Owner, request: Request = Request(), *, conversation_id: str | None = None
) -> tuple[Object, ...]:
    """Return the objects that a first create of OWNER's pod would apply. Changes nothing, never connects."""
    _check_conversation(conversation_id)
    return manifests.render(
        owner,
        names_of(owner),
        request.over(settings.defaults),
        volume_root=settings.volume_root,
        conversation_id=conversation_id,
        templates=settings.templates,
        hardening=settings.hardening,
        instance=settings.instance,
    ).objects


def _check_conversation(id: str | None) -> None:
    """Raise UsageError if ID is not a valid conversation id."""
    if id is not None:
        Owner.conversation(id)
