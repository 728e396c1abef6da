"""The record of a change: who made it, from where, and how it ended. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from lfgpods.core.owners import Owner


class Action(StrEnum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    PURGE = "purge"
    SYNC = "sync"
    GC = "gc"


class Outcome(StrEnum):
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    """Its process is gone. Only the cluster shows how far it came."""
    RUNNING = "running"


@dataclass(frozen=True)
class Change:
    """One change, recorded before anything was touched, and its outcome."""

    id: int
    owner: Owner | None
    """None for sync and gc, which concern all owners."""
    action: Action
    who: str
    """The login name of the user."""
    origin: str
    """The program and the machine, such as `cli on my-laptop`."""
    detail: str
    started_at: str
    """ISO 8601 in UTC, with milliseconds."""
    duration: float | None
    """Seconds; None while there is no outcome."""
    outcome: Outcome
    error: str
    """The cause of a failure in one line."""

    def as_dict(self) -> dict[str, Any]:
        """The fields of the JSON and YAML output; their names are stable."""
        owner = f"{self.owner.kind}/{self.owner.id}" if self.owner else None
        return {**asdict(self), "owner": owner, "action": self.action.value, "outcome": self.outcome.value}
