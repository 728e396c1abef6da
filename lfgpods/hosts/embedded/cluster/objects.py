"""The cluster's objects in one transaction: find, add, change and remove them. No I/O."""

from __future__ import annotations

import json
import random
import string
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from lfgpods.core.objects import Object
from lfgpods.hosts.embedded.cluster.faults import Faults
from lfgpods.hosts.embedded.cluster.kinds import EVENT, Kind

EVENTS_KEPT = 100
Matches = Callable[[Object], bool]


@dataclass
class Record:
    """An object, and in `private` what only the embedded host knows, such as its field managers."""

    kind: Kind
    obj: Object
    private: dict[str, Any] = field(default_factory=dict)
    saved: str = ""
    saved_private: str = ""
    dirty: bool = False
    """Whether its latest resourceVersion has not been saved yet."""

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return str(self.obj["metadata"].get("namespace", ""))

    @property
    def key(self) -> tuple[str, str, str]:
        return (self.kind.name, self.namespace, self.name)

    @property
    def reference(self) -> str:
        """The name that kubectl prints, such as `deployment.apps/name`."""
        return f"{self.kind.singular}/{self.name}"

    @property
    def is_terminating(self) -> bool:
        return bool(self.obj["metadata"].get("deletionTimestamp"))

    @property
    def uid(self) -> str:
        return str(self.obj["metadata"]["uid"])


class Objects:
    """Every object of the cluster, with the time and the faults of this transaction."""

    def __init__(self, records: list[Record], version: int, now: float, faults: Faults) -> None:
        self._records = {record.key: record for record in records}
        self.removed: list[Record] = []
        self.version = version
        self.now = now
        self.faults = faults

    @property
    def time(self) -> str:
        """The time of this transaction as Kubernetes writes it."""
        return timestamp(self.now)

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))

    def find(self, kind: Kind, namespace: str, name: str) -> Record | None:
        return self._records.get((kind.name, namespace if kind.namespaced else "", name))

    def all(self, kind: Kind, namespace: str | None = None, matches: Matches | None = None) -> list[Record]:
        """The objects of KIND in NAMESPACE, or in all namespaces if it is None; sorted by namespace and name."""
        found = [
            record
            for record in self._records.values()
            if record.kind is kind
            and (namespace is None or not kind.namespaced or record.namespace == namespace)
            and (matches is None or matches(record.obj))
        ]
        return sorted(found, key=lambda record: record.key)

    def add(self, kind: Kind, obj: Object) -> Record:
        """Add a new object, with the metadata that the API server sets."""
        obj["metadata"].update(uid=str(uuid.uuid4()), creationTimestamp=self.time)
        record = Record(kind, obj)
        self._records[record.key] = record
        self.new_version(record)
        return record

    def remove(self, record: Record) -> None:
        if self._records.pop(record.key, None) is not None:
            self.removed.append(record)

    def new_version(self, record: Record) -> None:
        """Set a new resourceVersion if the object has changed since its last one."""
        text = json.dumps(record.obj, sort_keys=True)
        if text != record.saved:
            self.version += 1
            record.obj["metadata"]["resourceVersion"] = str(self.version)
            record.saved = json.dumps(record.obj, sort_keys=True)
            record.dirty = True

    def add_event(
        self, about: Record, kind: str, reason: str, message: str, source: Object, *, repeat: bool = True
    ) -> None:
        """Add an Event about an object; KIND is Normal or Warning. REPEAT counts the same event again."""
        involved = {
            "apiVersion": about.kind.api_version,
            "kind": about.kind.name,
            "name": about.name,
            "namespace": about.namespace,
            "resourceVersion": about.obj["metadata"]["resourceVersion"],
            "uid": about.uid,
        }
        if "host" in source:  # kubelet's events are about the container
            involved["fieldPath"] = f"spec.containers{{{about.obj['spec']['containers'][0]['name']}}}"
        events = self.all(EVENT, about.namespace)
        for known in events:
            obj = known.obj
            if (obj["involvedObject"]["uid"], obj["reason"], obj["message"]) == (about.uid, reason, message):
                if repeat:
                    obj["count"] += 1
                    obj["lastTimestamp"] = self.time
                return
        for oldest in sorted(events, key=lambda record: record.obj["lastTimestamp"])[:-EVENTS_KEPT]:
            self.remove(oldest)
        self.add(
            EVENT,
            {
                "apiVersion": "v1",
                "count": 1,
                "eventTime": None,
                "firstTimestamp": self.time,
                "involvedObject": involved,
                "kind": "Event",
                "lastTimestamp": self.time,
                "message": message,
                "metadata": {"name": f"{about.name}.{uuid.uuid4().hex[:16]}", "namespace": about.namespace},
                "reason": reason,
                "reportingComponent": "",
                "reportingInstance": "",
                "source": source,
                "type": kind,
            },
        )


def timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds_of(text: str) -> float:
    """A Kubernetes timestamp as seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def random_suffix(length: int = 5) -> str:
    """A random end of a name, made of the characters that Kubernetes uses."""
    letters = "".join(sorted(set(string.ascii_lowercase + "2456789") - set("aeiou")))
    return "".join(random.choices(letters, k=length))  # noqa: S311 - a name, not a secret
