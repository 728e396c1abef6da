"""Record a change before it begins and again when it ends, and the state of a pod that failed."""

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
    from lfgpods.store.store import Store

log = logging.getLogger("lfgpods")


@contextmanager
def record_change(store: Store, action: Action, owner: Owner | None, detail: str = "") -> Iterator[None]:
    """Record the change that the block makes, and how the block ends.

    Raises StoreError before the block runs if the change cannot be recorded.
    """
    change = store.begin(action, owner, detail)
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
            store.finish(change, error, interrupted=interrupted)


@contextmanager
def record_failure(store: Store, intent: Pod) -> Iterator[None]:
    """If the block fails, save INTENT with the reason: as failed, or unchanged if the time limit was reached."""
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
    """Save POD. Returns it with the recorded time of its last use. Only logs a StoreError."""
    with log_store_errors():
        store.remember(pod)
        found = store.find(pod.owner)
        return replace(pod, last_used_at=found.last_used_at if found else None)
    return pod


@contextmanager
def log_store_errors() -> Iterator[None]:
    """Log a StoreError instead of raising it: what was done on the host stays done."""
    try:
        yield
    except StoreError as error:
        log.warning("%s", error.message)
