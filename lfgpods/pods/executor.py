"""exec: an owner's pod is found, a command runs in a shell there, and what became of both is told for certain."""

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
    from lfgpods.store import Store

TOUCH_EVERY = 10.0
"""Seconds to which the time of a pod's last use is exact."""


class PodExecutor:
    """Runs commands in the pods of owners; safe for many threads."""

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
        """See PodManager.exec. A pod that was replaced is looked up anew where nothing can have run in the old one."""
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
                self._tell_of_replacement(owner, pod_name, error)
            raise
        self._touch(owner)
        return ExecResult(code, bytes(stdout), bytes(stderr))

    def _tell_of_replacement(self, owner: Owner, pod_name: str, error: OutcomeUnknownError) -> None:
        """Raise an error of its own if the pod in which the command ran is not there any more."""
        try:
            became = self._reader.exit_reason(owner, pod_name)
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

    def _touch(self, owner: Owner) -> None:
        """Note in the store that OWNER's pod is being used, but for one that was noted a moment ago."""
        now = time.monotonic()
        if now - self._touched.get(owner, now - TOUCH_EVERY) >= TOUCH_EVERY:
            with log_store_errors():
                self._store().touch(owner)
                self._touched[owner] = now

    def _remembered_pod(self, owner: Owner) -> str:
        """The name of the pod that ran when it was last seen. Raises PodNotRunningError where none did."""
        if pod_name := self._store().running_pod(owner):
            return pod_name
        raise PodNotRunningError(f"no pod of {owner} is remembered to run", "Ask the cluster.")

    def _running_pod(self, owner: Owner) -> str:
        """The name of the pod to run a command in. Raises PodNotFoundError or PodNotRunningError that says why not."""
        objects = self._reader.read(owner)
        if not objects.exists:
            self._store().forget([owner])
            raise no_such_pod(owner)
        objects = self._deployer.try_retain(owner, objects)
        pod = save(self._store(), self._reader.pod(owner, objects))
        if pod.status is State.RUNNING and pod.pod_name:
            return pod.pod_name
        why = f": {pod.reason}" if pod.reason else ""
        hint = f"Bring it back: lfgpods create {owner.option}"
        if pod.status is State.UNKNOWN:
            hint = "The files are kept, and it runs again once its node answers: kubectl get nodes"
        raise PodNotRunningError(f"the pod of {owner} is {pod.status}{why}", hint)
