"""PodManager: the Python API. Each method is one call into the rooms below."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from lfgpods.core.changes import Action, Change
from lfgpods.core.errors import PodNotFoundError
from lfgpods.core.owners import Owner
from lfgpods.core.pod import Deletion, Pod, State
from lfgpods.core.progress import OnStep, silent
from lfgpods.core.settings import Settings, load_settings
from lfgpods.core.spec import Request
from lfgpods.core.text import mask
from lfgpods.exec.command import Command, ExecResult, Sink, Source
from lfgpods.exec.pool import ShellPool
from lfgpods.fleet import sync
from lfgpods.fleet.gc import GarbageCollector
from lfgpods.fleet.listing import list_pods
from lfgpods.fleet.orphans import Orphan
from lfgpods.fleet.sync import Synced
from lfgpods.hosts import connect
from lfgpods.pods.deployer import PodDeployer
from lfgpods.pods.executor import PodExecutor
from lfgpods.pods.lifecycle import PodLifecycle
from lfgpods.pods.reader import PodReader
from lfgpods.pods.remover import TIMEOUT, PodRemover
from lfgpods.store.journal import record_change

if TYPE_CHECKING:
    from lfgpods.hosts.base import Host
    from lfgpods.store.store import Store

IDLE_SECONDS = 60.0
"""How long an idle shell stays open in a pod, in seconds, if LFGPODS_KEEP does not say."""


class PodManager:
    """Pods of projects and conversations on one Kubernetes host. Safe for many threads.

    Every method raises LfgpodsError and its subclasses, never an error of the libraries below. Use it as a context
    manager, or call close(). It connects when a method first needs the host, and reconnects if need be.
    """

    def __init__(self, settings: Settings | None = None, *, host: Host | None = None) -> None:
        self._settings = settings = settings or load_settings()
        if settings.ssh:
            mask([settings.ssh.key_string, settings.ssh.key_passphrase])
        self._host = host = host or connect(settings)
        self._opened_store: Store | None = None
        self._opening = threading.Lock()
        self._reader = reader = PodReader(host, settings)
        self._shells = ShellPool(host, reader.kubectl, idle_seconds=settings.keep or IDLE_SECONDS)
        self._remover = remover = PodRemover(reader, settings)
        deployer = PodDeployer(reader, remover, settings)
        self._lifecycle = PodLifecycle(settings, reader, remover, deployer, self._shells, self._store)
        self._executor = PodExecutor(reader, deployer, self._shells, self._store)
        self._collector = GarbageCollector(settings, reader, remover, self._store)

    def __enter__(self) -> PodManager:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and the database."""
        self._shells.close()
        self._host.close()
        if self._opened_store is not None:
            self._opened_store.close()
            self._opened_store = None

    @property
    def host_name(self) -> str:
        """The Kubernetes host, as messages and the store name it."""
        return self._host.name

    def _store(self) -> Store:
        """The store, opened when it is first needed."""
        with self._opening:
            if self._opened_store is None:
                from lfgpods.store.store import Store

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
        on_step: OnStep = silent,
    ) -> Pod:
        """Return OWNER's running pod; create it, or bring it back on its volume, if need be.

        A running pod that differs from REQUEST is returned as it is, with `differences`, and changed only with UPDATE.
        TIMEOUT bounds the wait for the pod, in seconds. Without WAIT, returns once the manifests are applied.
        """
        return self._lifecycle.ensure(
            owner,
            request,
            conversation_id=conversation_id,
            update=update,
            wait=wait,
            timeout=timeout,
            on_step=on_step,
        )

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
        """Run COMMAND in OWNER's pod; return its exit code, and the output that no sink took.

        TIMEOUT is in seconds. Setting CANCELLED from another thread ends the command.

        Raises PodNotFoundError, PodNotRunningError, TimeLimitError (the command was ended) or OutcomeUnknownError
        (it may have run). The last two hold the output so far.
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
        self, owner: Owner, *, purge: bool = False, timeout: float = TIMEOUT, on_step: OnStep = silent
    ) -> Deletion:
        """Delete OWNER's pod and keep its data; with PURGE, delete the data and the record too.

        Works from any state, and may be repeated. Raises PodNotFoundError if there is nothing at all, not even a
        record, and TimeLimitError if the cluster has not finished after TIMEOUT seconds.
        """
        return self._lifecycle.delete(owner, purge=purge, timeout=timeout, on_step=on_step)

    def status(self, owner: Owner) -> Pod:
        """Return OWNER's pod as the cluster has it, and update the store.

        If the cluster cannot be reached, returns the stored pod as `unknown`. Raises PodNotFoundError if there is none.
        """
        return self._lifecycle.status(owner)

    def history(self, owner: Owner | None = None, limit: int = 20) -> Sequence[Change]:
        """Return the last LIMIT changes, newest first: of OWNER, or of all. Reads only the store."""
        return self._store().changes(owner, limit)

    def list(self, owner: Owner | None = None, *, status: State | None = None) -> list[Pod]:
        """Return every pod and kept volume of this host, by namespace, and update the store.

        OWNER and STATUS narrow the list; with OWNER it costs as little as `status`. If the cluster cannot be reached,
        returns the stored pods as `unknown`, regardless of STATUS.
        """
        pods: Sequence[Pod] = ()
        with suppress(PodNotFoundError):
            pods = list_pods(self._reader, self._store()) if owner is None else [self.status(owner)]
        return [pod for pod in pods if status in (None, pod.status) or pod.status is State.UNKNOWN]

    def sync(self) -> Synced:
        """Compare store, cluster and volume folders, and repair the store. Rebuilds an empty one."""
        with record_change(self._store(), Action.SYNC, None):
            return sync.sync(self._reader, self._remover, self._store(), self._settings.volume_root)

    def gc(
        self, *, apply: bool = False, purge_older_than: float | None = None, on_step: OnStep = silent
    ) -> Sequence[Orphan]:
        """Return what belongs to no owner; with APPLY, remove what is proven to be lfgpods' own.

        Kept volumes of deleted pods count only if nothing has used them for PURGE_OLDER_THAN seconds.
        """
        return self._collector.collect(apply=apply, purge_older_than=purge_older_than, on_step=on_step)
