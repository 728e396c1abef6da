"""The kubectl verbs that change objects: delete, patch, scale, rollout restart, label, annotate."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from lfgpods.core.objects import Object
from lfgpods.hosts.embedded.cluster import controllers, field_ownership
from lfgpods.hosts.embedded.cluster.cluster import Cluster
from lfgpods.hosts.embedded.cluster.errors import ApiError, KubectlError, NotFoundError
from lfgpods.hosts.embedded.cluster.kinds import NAMESPACE, Kind
from lfgpods.hosts.embedded.cluster.objects import Objects, Record
from lfgpods.hosts.embedded.kubectl import printing
from lfgpods.hosts.embedded.kubectl.apply import save
from lfgpods.hosts.embedded.kubectl.arguments import Arguments, label_selector, references
from lfgpods.hosts.embedded.kubectl.get import wait_until
from lfgpods.hosts.embedded.kubectl.streams import Streams


def delete(cluster: Cluster, arguments: Arguments, streams: Streams) -> int:
    """Start to delete the named objects, and wait until they are gone unless --wait=false is given."""
    wanted = references(arguments.words)
    grace = int(arguments.value("grace-period", "-1"))
    forced = arguments.on("force")
    if forced and grace <= 0:
        streams.err(_IMMEDIATE)
    grace = 0 if forced and grace < 0 else grace
    waited: dict[str, Record] = {}
    missing: list[KubectlError] = []
    warned = False
    with cluster.transaction() as objects:
        for kind, name in wanted:
            found = _to_delete(objects, arguments, kind, name)
            if not found and name is not None and not arguments.on("ignore-not-found"):
                missing.append(NotFoundError(kind, name))
            for record in found:
                if not kind.namespaced and "namespace" in arguments.values and not warned:
                    streams.err("Warning: deleting cluster-scoped resources, not scoped to the provided namespace\n")
                    warned = True
                if kind is NAMESPACE and record.name in ("default", "kube-system"):
                    text = f'namespaces "{record.name}" is forbidden: this namespace may not be deleted'
                    missing.append(ApiError("Forbidden", text))
                    continue
                waited[record.uid] = record
                controllers.delete(objects, record, grace=None if grace < 0 else grace)
                streams.out(f"{record.reference}\n" if arguments.output == "name" else _deleted(record, forced))
        if not waited and not missing and all(name is None for _, name in wanted):
            streams.out("No resources found\n")
    cluster.refresh()
    for error in missing:
        streams.err(f"{error.text}\n")
    code = 0
    if arguments.on("wait", default=True) and waited:
        code = wait_until(cluster, streams, waited, lambda record: record is None, arguments.seconds("timeout"))
    return 1 if missing else code


_IMMEDIATE = (
    "Warning: Immediate deletion does not wait for confirmation that the running resource has been terminated. "
    "The resource may continue to run on the cluster indefinitely.\n"
)


def _deleted(record: Record, forced: bool) -> str:
    place = f" from {record.namespace} namespace" if record.kind.namespaced else ""
    return f'{record.kind.singular} "{record.name}" {"force " if forced else ""}deleted{place}\n'


def _to_delete(objects: Objects, arguments: Arguments, kind: Kind, name: str | None) -> list[Record]:
    if name is not None:
        record = objects.find(kind, arguments.namespace, name)
        return [record] if record else []
    if not arguments.on("all") and "selector" not in arguments.values:
        raise KubectlError("error: resource(s) were provided, but no name was specified")
    namespace = None if arguments.on("all-namespaces") else arguments.namespace
    return objects.all(kind, namespace, label_selector(arguments.value("selector")))


def patch(cluster: Cluster, arguments: Arguments, streams: Streams) -> int:
    """Apply a JSON merge patch."""
    if arguments.value("type", "strategic") != "merge":
        raise KubectlError("error: the embedded host patches with --type=merge only")
    try:
        change = json.loads(arguments.value("patch"))
    except ValueError:
        raise KubectlError("Error from server (BadRequest): invalid JSON patch") from None

    def answer(record: Record, changed: bool) -> str:
        if arguments.output == "json":
            return printing.to_json(record.obj)
        return f"{record.reference} patched{'' if changed else ' (no change)'}\n"

    return _update(
        cluster, arguments, streams, references(arguments.words), lambda obj: field_ownership.patch(obj, change), answer
    )


def scale(cluster: Cluster, arguments: Arguments, streams: Streams) -> int:
    try:
        replicas = int(arguments.value("replicas"))
    except ValueError:
        raise KubectlError(
            "error: The --replicas=COUNT flag is required, and COUNT must be greater than or equal to 0"
        ) from None

    def scaled(obj: Any) -> Object:
        return {**obj, "spec": {**obj["spec"], "replicas": replicas}}

    wanted = references(arguments.words)
    return _update(cluster, arguments, streams, wanted, scaled, lambda record, _: f"{record.reference} scaled\n")


def rollout_restart(cluster: Cluster, arguments: Arguments, streams: Streams) -> int:
    moment = cluster.refresh().time

    def restarted(obj: Any) -> Object:
        note = {"kubectl.kubernetes.io/restartedAt": moment}
        return field_ownership.patch(obj, {"spec": {"template": {"metadata": {"annotations": note}}}})  # type: ignore[no-any-return]

    wanted = references(arguments.words[1:])
    return _update(cluster, arguments, streams, wanted, restarted, lambda record, _: f"{record.reference} restarted\n")


def annotate(cluster: Cluster, arguments: Arguments, streams: Streams) -> int:
    return _set_metadata(cluster, arguments, streams, "annotations")


def label(cluster: Cluster, arguments: Arguments, streams: Streams) -> int:
    return _set_metadata(cluster, arguments, streams, "labels")


def _set_metadata(cluster: Cluster, arguments: Arguments, streams: Streams, part: str) -> int:
    """Set (`key=value`) and remove (`key-`) labels or annotations."""
    changes: dict[str, str | None] = {}
    words = list(arguments.words)
    while words and (words[-1].endswith("-") or "=" in words[-1]):
        key, sign, value = words.pop().partition("=")
        changes[key if sign else key[:-1]] = value if sign else None
    if not changes:
        raise KubectlError(f"error: at least one {part[:-1]} update is required")

    def marked(obj: Any) -> Object:
        known = obj["metadata"].get(part) or {}
        taken = [key for key, value in changes.items() if value is not None and known.get(key) not in (None, value)]
        if taken and not arguments.on("overwrite"):
            key = taken[0]
            if part == "labels":
                raise KubectlError(f"error: '{key}' already has a value ({known[key]}), and --overwrite is false")
            text = f"'{key}' already has a value ({known[key]})"
            raise KubectlError(f"error: --overwrite is false but found the following declared annotation(s): {text}")
        return field_ownership.patch(obj, {"metadata": {part: changes}})  # type: ignore[no-any-return]

    def answer(record: Record, changed: bool) -> str:
        if part == "annotations":
            return f"{record.reference} annotated\n"
        removed = all(value is None for value in changes.values())
        return f"{record.reference} {'not labeled' if not changed else 'unlabeled' if removed else 'labeled'}\n"

    return _update(cluster, arguments, streams, references(words), marked, answer)


def _update(
    cluster: Cluster,
    arguments: Arguments,
    streams: Streams,
    wanted: list[tuple[Kind, str | None]],
    change: Callable[[Any], Object],
    answer: Callable[[Record, bool], str],
) -> int:
    with cluster.transaction() as objects:
        for kind, name in wanted:
            record = objects.find(kind, arguments.namespace, name or "")
            if record is None:
                raise NotFoundError(kind, name or "")
            before = deepcopy(record.obj)
            record, changed = save(objects, kind, change(deepcopy(before)), record)
            if "managers" in record.private:
                field_ownership.disown(before, record.obj, record.private["managers"])
            streams.out(answer(record, bool(changed)))
    cluster.refresh()
    return 0
