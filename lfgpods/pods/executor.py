"""Runs commands in owners' pods, and reports reliably what became of the command and the pod."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lfgpods.core.errors import LfgpodsError, OutcomeUnknownError, PodNotRunningError, TimeLimitError
from lfgpods.core.owners import Owner, names_of
from lfgpods.core.pod import State, no_such_pod
from lfgpods.exec.command import Command, ExecResult, Invocation, Sink, Source
from lfgpods.exec.pool import ShellPool
from lfgpods.pods.deployer import PodDeployer
from lfgpods.pods.reader import PodReader
from lfgpods.store.journal import log_store_errors, save

if TYPE_CHECKING:
    from lfgpods.store.store import Store

TOUCH_EVERY = 10.0
"""How often the time of a pod's last use is stored, in seconds."""


class PodExecutor:
    """Runs commands in the pods of owners. Thread-safe."""

    def __init__(self, reader: PodReader, deployer: PodDeployer, shells: ShellPool, store: Callable[[], Store]) -> None:
        self._reader = reader
        self._deployer = deployer
        self._shells = shells
        self._store = store
        self._touched: dict[Owner, float] = {}

    def run(
        self,
        owner: Owner,
        command: Command,
        *,
        stdin: Source | None,
        timeout: float | None,
        on_stdout: Sink | None,
        on_stderr: Sink | None,
        cancelled: threading.Event | None,
    ) -> ExecResult:
        """See PodManager.exec. If the remembered pod is gone and nothing ran in it, runs in the current pod."""
        command.check()
        stdout, stderr = bytearray(), bytearray()
        invocation = Invocation(
            command, on_stdout or stdout.extend, on_stderr or stderr.extend, stdin, timeout, cancelled
        )
        namespace = names_of(owner).namespace
        try:
            try:
                with self._shells.checkout(namespace) as shell:
                    pod_name = self._remembered_pod(owner)
                    code = shell.run(pod_name, invocation)
            except PodNotRunningError:
                pod_name = self._running_pod(owner)
                code = self._shells.run(namespace, pod_name, invocation)
        except (TimeLimitError, OutcomeUnknownError) as error:
            error.stdout, error.stderr = bytes(stdout), bytes(stderr)
            if isinstance(error, OutcomeUnknownError) and not error.link_lost:
                self._check_replaced(owner, pod_name, error)
            raise
        self._touch(owner)
        return ExecResult(code, bytes(stdout), bytes(stderr))

    def _check_replaced(self, owner: Owner, pod_name: str, error: OutcomeUnknownError) -> None:
        """Raise an error with code `pod_replaced` if the command's pod is gone."""
        try:
            reason = self._reader.exit_reason(owner, pod_name)
        except LfgpodsError:
            return
        if reason is None:
            return
        gone = OutcomeUnknownError(
            f"outcome unknown: the pod {pod_name} was {reason} during the command",
            "It may have run in part. Check what it did before you run it again. The files are kept.",
            code="pod_replaced",
        )
        gone.stdout, gone.stderr = error.stdout, error.stderr
        raise gone from error

    def _touch(self, owner: Owner) -> None:
        """Store the time of the last use of OWNER's pod, at most once every TOUCH_EVERY seconds."""
        now = time.monotonic()
        if now - self._touched.get(owner, now - TOUCH_EVERY) >= TOUCH_EVERY:
            with log_store_errors():
                self._store().touch(owner)
                self._touched[owner] = now

    def _remembered_pod(self, owner: Owner) -> str:
        """Return the name of the pod that ran when last seen. Raises PodNotRunningError if there is none."""
        if pod_name := self._store().running_pod(owner):
            return pod_name
        raise PodNotRunningError(f"the store knows no running pod of {owner}", "Ask the cluster.")

    def _running_pod(self, owner: Owner) -> str:
        """Return the name of the running pod. Raises PodNotFoundError, or PodNotRunningError with the reason."""
        objects = self._reader.read(owner)
        if not objects.exists:
            self._store().forget([owner])
            raise no_such_pod(owner)
        objects = self._deployer.try_retain(owner, objects)
        pod = save(self._store(), self._reader.pod(owner, objects))
        if pod.status is State.RUNNING and pod.pod_name:
            return pod.pod_name
        why = f": {pod.reason}" if pod.reason else ""
        hint = f"Start it again: lfgpods create {owner.option}"
        if pod.status is State.UNKNOWN:
            hint = "The files are kept. The pod runs again once its node answers; see kubectl get nodes."
        raise PodNotRunningError(f"the pod of {owner} is {pod.status}{why}", hint)
