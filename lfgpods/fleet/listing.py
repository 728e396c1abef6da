"""List the pods of all owners with one query, and repair the store with the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lfgpods.core.errors import LfgpodsError
from lfgpods.core.pod import Pod, State
from lfgpods.fleet.sync import reconcile
from lfgpods.pods.reader import PodReader
from lfgpods.store.journal import log_store_errors

if TYPE_CHECKING:
    from lfgpods.store.store import Store


def list_pods(reader: PodReader, store: Store) -> Sequence[Pod]:
    """Return every pod and kept volume of the cluster, by namespace.

    If the cluster cannot be reached, returns the stored pods as `unknown`.
    """
    remembered: Sequence[Pod] = ()
    with log_store_errors():  # first, so that a pod created meanwhile does not count as gone
        remembered = store.all()
    try:
        found = reader.pods(len(remembered))
    except LfgpodsError as error:
        if remembered and error.is_unreachable:
            return [replace(pod, status=State.UNKNOWN, reason=error.message) for pod in remembered]
        raise
    used = {pod.owner: pod.last_used_at for pod in remembered}
    with log_store_errors():
        reconcile(store, remembered, found)
    return [replace(pod, last_used_at=used.get(pod.owner)) for pod in found]
