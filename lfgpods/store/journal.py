"""What is done, written down: the intent before, the outcome after, and what became of a pod that failed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from lfgpods.core.changes import Action
from lfgpods.core.errors import KubernetesError, LfgpodsError, StoreError, TimeLimitError
from lfgpods.core.owners import Owner
from lfgpods.core.pod import Pod, State

if TYPE_CHECKING:
    from lfgpods.store import Store

log = logging.getLogger("lfgpods")


@contextmanager
def record_change(store: Store, action: Action, owner: Owner | None, detail: str = "") -> Iterator[None]:
    """Write the event down before what is done, and its outcome after. Raises StoreError before anything is done."""
    event = store.begin(action, owner, detail)
    log.info("%s of %s begins %s", action, owner or "everything", detail)
    error, interrupted = "", True
    try:
        yield
        interrupted = False
    except LfgpodsError as failure:
        error, interrupted = failure.message, False
        raise
    finally:
        log.info("%s of %s: %s", action, owner or "everything", error or ("interrupted" if interrupted else "done"))
        with log_store_errors():
            store.finish(event, error, interrupted=interrupted)


@contextmanager
def record_failure(store: Store, intent: Pod) -> Iterator[None]:
    """Write down why the pod that INTENT describes is not there, where that is known."""
    try:
        yield
    except TimeLimitError as error:
        with log_store_errors():
            store.remember(replace(intent, reason=error.message))
        raise
    except KubernetesError as error:
        with log_store_errors():
            store.remember(replace(intent, status=State.FAILED, reason=error.message))
        raise


def save(store: Store, pod: Pod) -> Pod:
    """POD, written to the store, with the time of its last use from there."""
    with log_store_errors():
        store.remember(pod)
        found = store.find(pod.owner)
        return replace(pod, last_used_at=found.last_used_at if found else None)
    return pod


@contextmanager
def log_store_errors() -> Iterator[None]:
    """For what is remembered of something that is done: that it cannot be written down does not undo it."""
    try:
        yield
    except StoreError as error:
        log.warning("%s", error.message)
