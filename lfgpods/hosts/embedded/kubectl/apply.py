"""The kubectl verbs that read objects from stdin: apply and create. And `save`, which stores an object."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

from lfgpods.core.objects import Object
from lfgpods.hosts.embedded.cluster import admission, field_ownership
from lfgpods.hosts.embedded.cluster.cluster import Cluster
from lfgpods.hosts.embedded.cluster.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    KubectlError,
    NotFoundError,
)
from lfgpods.hosts.embedded.cluster.kinds import DEPLOYMENT, NAMESPACE, Kind, kind_named
from lfgpods.hosts.embedded.cluster.objects import Objects, Record
from lfgpods.hosts.embedded.kubectl import printing
from lfgpods.hosts.embedded.kubectl.arguments import Arguments
from lfgpods.hosts.embedded.kubectl.streams import Streams

_CLIENT_SIDE = "kubectl-client-side-apply"

_Store = Callable[[Objects, Object, Arguments], tuple[Record, str, str]]
"""Stores one object; returns it, the word for what was done, and a warning or an empty text."""


def apply(cluster: Cluster, arguments: Arguments, streams: Streams) -> int:
    """Apply the objects from stdin in their order. The others are applied even if one is refused."""
    applied, failures = _store_all(cluster, arguments, streams, _apply_one)
    if arguments.output == "json" and not failures:
        single = len(applied) == 1
        streams.out(printing.to_json(applied[0] if single else {**printing.list_of(applied), "metadata": {}}))
    return 1 if failures else 0


def create(cluster: Cluster, arguments: Arguments, streams: Streams) -> int:
    """Create the objects from stdin in their order. The others are created even if one exists or is refused."""
    created, failures = _store_all(cluster, arguments, streams, _create_one)
    if arguments.output == "json":
        streams.out("".join(map(printing.to_json, created)))
    return 1 if failures else 0


def save(objects: Objects, kind: Kind, obj: Object, record: Record | None) -> tuple[Record, bool | None]:
    """Validate OBJ, set its defaults and store it. Returns whether it changed, or None if it is new.

    Raises KubectlError if it is not valid, or if its resourceVersion is not the one of RECORD.
    """
    if record is not None:
        version = record.obj["metadata"]["resourceVersion"]
        if obj["metadata"].setdefault("resourceVersion", version) != version:
            raise ConflictError(kind, record.name)
    if kind is not NAMESPACE:
        obj.setdefault("spec", {})
    if kind is DEPLOYMENT:
        template = obj["spec"].setdefault("template", {})
        template.setdefault("metadata", {})
        template.setdefault("spec", {})
    admission.validate(kind, obj, record.obj if record else None)
    admission.set_defaults(objects, kind, obj)
    if record is None:
        if kind is DEPLOYMENT:
            obj["metadata"]["generation"] = 1
        return objects.add(kind, obj), None
    changed = obj != record.obj
    if kind is DEPLOYMENT and obj["spec"] != record.obj["spec"]:
        obj["metadata"]["generation"] = record.obj["metadata"].get("generation", 1) + 1
    record.obj = obj
    objects.new_version(record)
    return record, changed


def _store_all(cluster: Cluster, arguments: Arguments, streams: Streams, store: _Store) -> tuple[list[Object], int]:
    """Store each object from stdin in a transaction of its own. Returns the stored ones, and how many failed."""
    if arguments.value("filename") != "-":
        raise KubectlError(
            "error: must specify one of -f and -k" if "filename" not in arguments.values else _STDIN_ONLY
        )
    configs = _documents(streams.read_stdin())
    if not configs:
        raise KubectlError(f"error: no objects passed to {arguments.verb}")
    stored: list[Object] = []
    cluster.refresh()
    for config in configs:
        try:
            with cluster.transaction(refresh=False) as objects:
                record, verb, warning = store(objects, config, arguments)
                stored.append(deepcopy(record.obj))
            if warning:
                streams.err(warning)
            if arguments.output == "name":
                streams.out(f"{record.reference}\n")
            elif not arguments.output:
                streams.out(f"{record.reference} {verb}\n")
        except KubectlError as error:
            streams.err(f"{error.text}\n")
    cluster.refresh()  # the controllers start now, before the next command
    return stored, len(configs) - len(stored)


_STDIN_ONLY = "error: the embedded host reads objects from stdin only (-f -)"


def _documents(data: bytes) -> list[Object]:
    """The objects in JSON or YAML documents; a List counts as its items."""
    text = data.decode().strip()
    try:
        documents = _json_documents(text) if text.startswith("{") else _yaml_documents(text)
    except ValueError as error:
        raise KubectlError(f"error: error parsing STDIN: {error}") from None
    found: list[Object] = []
    for document in documents:
        if not isinstance(document, dict):
            raise KubectlError("error: error parsing STDIN: an object is expected")
        found += document["items"] if document.get("kind") == "List" else [document]
    return found


def _json_documents(text: str) -> list[Any]:
    decoder, found = json.JSONDecoder(), []
    while text:
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:].strip().removeprefix("---").strip()
    return found


def _yaml_documents(text: str) -> list[Any]:
    import yaml

    try:
        return [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _recognized(config: Object, arguments: Arguments) -> tuple[Kind, Object]:
    """The kind of CONFIG, and CONFIG with its namespace."""
    kind = kind_named(config.get("kind", ""))
    metadata = config.get("metadata") or {}
    if kind is None or config.get("apiVersion") != kind.api_version or not metadata.get("name"):
        what = f'"{config.get("kind", "")}" in version "{config.get("apiVersion", "")}"'
        raise KubectlError(f'error: unable to recognize "STDIN": no matches for kind {what}')
    config = deepcopy(config)
    if kind.namespaced:
        config["metadata"].setdefault("namespace", arguments.namespace)
    return kind, config


def _create_one(objects: Objects, config: Object, arguments: Arguments) -> tuple[Record, str, str]:
    kind, config = _recognized(config, arguments)
    name, namespace = config["metadata"]["name"], config["metadata"].get("namespace", "")
    try:
        _check_namespace(objects, kind, namespace, name)
        if objects.find(kind, namespace, name) is not None:
            raise AlreadyExistsError(kind, name)
        record, _ = save(objects, kind, config, None)
    except ApiError as error:
        raise ApiError(error.reason, f'error when creating "STDIN": {error.message}') from None
    return record, "created", ""


def _apply_one(objects: Objects, config: Object, arguments: Arguments) -> tuple[Record, str, str]:
    kind, config = _recognized(config, arguments)
    name, namespace = config["metadata"]["name"], config["metadata"].get("namespace", "")
    record = objects.find(kind, namespace, name)
    if record is None:
        _check_namespace(objects, kind, namespace, name)
    live = record.obj if record else _empty(config)
    managers = deepcopy(record.private.get("managers", {})) if record else {}
    server_side = arguments.on("server-side")
    manager = arguments.value("field-manager", "kubectl") if server_side else _CLIENT_SIDE
    force = arguments.on("force-conflicts") or not server_side
    try:
        wanted = field_ownership.apply(live, config, manager, managers, force=force)
    except field_ownership.ApplyConflictError as conflict:
        raise KubectlError(_conflict(conflict)) from None
    record, changed = save(objects, kind, wanted, record)
    record.private["managers"] = managers
    warning = ""
    if record.is_terminating and changed is not None:
        warning = f"Warning: Detected changes to resource {record.name} which is currently being deleted.\n"
    if server_side:
        return record, "serverside-applied", warning
    return record, "created" if changed is None else "configured" if changed else "unchanged", warning


def _empty(config: Object) -> Object:
    metadata = {key: config["metadata"][key] for key in ("name", "namespace") if key in config["metadata"]}
    return {"apiVersion": config["apiVersion"], "kind": config["kind"], "metadata": metadata}


def _check_namespace(objects: Objects, kind: Kind, namespace: str, name: str) -> None:
    if not kind.namespaced:
        return
    home = objects.find(NAMESPACE, "", namespace)
    if home is None:
        raise NotFoundError(NAMESPACE, namespace)
    if home.is_terminating:
        what = f"unable to create new content in namespace {namespace} because it is being terminated"
        raise ApiError("Forbidden", f'{kind.resource} "{name}" is forbidden: {what}')


def _conflict(conflict: field_ownership.ApplyConflictError) -> str:
    lines = [f'conflict with "{manager}": {", ".join(paths)}' for manager, paths in conflict.fields.items()]
    number = sum(map(len, conflict.fields.values()))
    return f"error: Apply failed with {number} conflict{'s' if number > 1 else ''}: " + "\n".join(lines)
