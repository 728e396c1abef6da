"""The cluster's objects as one transaction sees them: found, made, changed and taken away. No I/O."""

from __future__ import annotations

import copy
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
    """An object with what the embedded host alone knows about it (`private`: field managers, the container's run)."""

    kind: Kind
    obj: Object
    private: dict[str, Any] = field(default_factory=dict)
    saved: str = ""
    saved_private: str = ""
    dirty: bool = False
    """Whether it was given a resourceVersion that is not written yet."""

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
        """How kubectl's answers call it, such as `deployment.apps/name`."""
        return f"{self.kind.singular}/{self.name}"

    @property
    def going(self) -> bool:
        return bool(self.obj["metadata"].get("deletionTimestamp"))

    @property
    def uid(self) -> str:
        return str(self.obj["metadata"]["uid"])


class World:
    """Every object of the cluster, with the clock and the faults of this moment."""

    def __init__(self, records: list[Record], version: int, now: float, faults: Faults) -> None:
        self._records = {record.key: record for record in records}
        self.removed: list[Record] = []
        self.version = version
        self.now = now
        self.faults = faults

    @property
    def time(self) -> str:
        """The clock as Kubernetes writes it."""
        return timestamp(self.now)

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))

    def find(self, kind: Kind, namespace: str, name: str) -> Record | None:
        return self._records.get((kind.name, namespace if kind.namespaced else "", name))

    def all(self, kind: Kind, namespace: str | None = None, matches: Matches | None = None) -> list[Record]:
        """The records of KIND by namespace and name; of all namespaces where NAMESPACE is None."""
        found = [
            record
            for record in self._records.values()
            if record.kind is kind
            and (namespace is None or not kind.namespaced or record.namespace == namespace)
            and (matches is None or matches(record.obj))
        ]
        return sorted(found, key=lambda record: record.key)

    def add(self, kind: Kind, obj: Object) -> Record:
        """A new object, with the metadata that the API server gives."""
        obj["metadata"].update(uid=str(uuid.uuid4()), creationTimestamp=self.time)
        record = Record(kind, obj)
        self._records[record.key] = record
        self.version_of(record)
        return record

    def remove(self, record: Record) -> None:
        if self._records.pop(record.key, None) is not None:
            self.removed.append(record)

    def version_of(self, record: Record) -> None:
        """Give RECORD a new resourceVersion if it was changed since the last one."""
        text = json.dumps(record.obj, sort_keys=True)
        if text != record.saved:
            self.version += 1
            record.obj["metadata"]["resourceVersion"] = str(self.version)
            record.saved = json.dumps(record.obj, sort_keys=True)
            record.dirty = True

    def event(self, about: Record, kind: str, reason: str, message: str, source: Object, repeat: bool = True) -> None:
        """Write down that something happened to ABOUT: KIND is Normal or Warning; a repeated one is counted."""
        involved = {
            "apiVersion": about.kind.api_version,
            "kind": about.kind.name,
            "name": about.name,
            "namespace": about.namespace,
            "resourceVersion": about.obj["metadata"]["resourceVersion"],
            "uid": about.uid,
        }
        if "host" in source:  # it is kubelet's, and about the container
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
    """The moment that a Kubernetes timestamp names."""
    return datetime.fromisoformat(text).timestamp()


def suffix(length: int = 5) -> str:
    """A random ending of a name, of the characters that Kubernetes uses."""
    letters = "".join(sorted(set(string.ascii_lowercase + "2456789") - set("aeiou")))
    return "".join(random.choices(letters, k=length))  # noqa: S311 - a name, not a secret


def copied(obj: Object) -> Object:
    return copy.deepcopy(obj)
