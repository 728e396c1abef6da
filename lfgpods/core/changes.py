"""What is recorded of a change: who asked for it, from where, what it was, and how it ended. Pure."""

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
    """It was begun, and whoever began it is gone: how far it came is for the cluster to tell."""
    RUNNING = "running"


@dataclass(frozen=True)
class Change:
    """One change: an intent that was written down before anything was touched, and what became of it."""

    id: int
    owner: Owner | None
    """None for what concerns all of them: sync and gc."""
    action: Action
    who: str
    """The login name of the user."""
    origin: str
    """What called and where, such as `cli on my-laptop`."""
    detail: str
    started_at: str
    """ISO 8601 in UTC, with milliseconds."""
    duration: float | None
    """In seconds; None as long as there is no outcome."""
    outcome: Outcome
    error: str
    """The cause of a failure in one line."""

    def as_dict(self) -> dict[str, Any]:
        """The event for JSON and YAML; the names are stable."""
        owner = f"{self.owner.kind}/{self.owner.id}" if self.owner else None
        return {**asdict(self), "owner": owner, "action": self.action.value, "outcome": self.outcome.value}
