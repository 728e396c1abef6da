"""Server-side apply and merge patches: which manager owns which field, and the object that results. No I/O.

A path is a tuple of keys; the key of a list item is the JSON of its key fields, such as `{"name":"http"}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from lfgpods.core.objects import Object

Path = tuple[str, ...]

_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "conditions": ("type",),
}
_PORTS = {"containers": ("containerPort", "protocol"), "spec": ("port", "protocol")}
_IDENTITY = frozenset({("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")})


class ApplyConflictError(Exception):
    """Other managers own fields with other values. `fields` has their names, as kubectl prints them, by manager."""

    def __init__(self, fields: dict[str, list[str]]) -> None:
        super().__init__(str(fields))
        self.fields = fields


def apply(live: Object, config: Object, manager: str, managers: dict[str, list[list[str]]], *, force: bool) -> Object:
    """Apply CONFIG to LIVE: set its fields, and remove those that MANAGER applied before and no longer does.

    Returns the new object, and updates MANAGERS, the fields that each manager owns. Raises ApplyConflictError if
    another manager owns a field with another value, unless FORCE is set.
    """
    paths = {path: value for path, value in _leaves(config) if path not in _IDENTITY}
    owned = {name: {tuple(path) for path in fields} for name, fields in managers.items()}
    conflicts: dict[str, list[str]] = {}
    for other in owned.keys() - {manager}:
        lost = {path for path in owned[other] & paths.keys() if _at(live, path) != paths[path]}
        if lost:
            conflicts[other] = sorted(map(_shown, lost))
            owned[other] -= lost
    if conflicts and not force:
        raise ApplyConflictError(conflicts)
    result: Object = json.loads(json.dumps(live))
    kept = set().union(*(fields for name, fields in owned.items() if name != manager), paths)
    for path in sorted(owned.get(manager, set()) - paths.keys(), key=len):
        if not any(other[: len(path)] == path for other in kept):
            _remove(result, path)
    _merge(result, config, ())
    owned[manager] = set(paths)
    managers.clear()
    managers.update({name: sorted(map(list, fields)) for name, fields in owned.items() if fields})
    return result


def patch(live: Any, change: Any) -> Any:
    """LIVE after the JSON merge patch CHANGE."""
    if not isinstance(change, dict):
        return change
    result = dict(live) if isinstance(live, dict) else {}
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = patch(result.get(key), value)
    return result


def disown(before: Object, after: Object, managers: dict[str, list[list[str]]]) -> None:
    """Take the changed fields away from every manager, after a change that was no apply."""
    for name, fields in list(managers.items()):
        left = [path for path in fields if _at(before, tuple(path)) == _at(after, tuple(path))]
        managers[name] = left


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The fields that a configuration sets. A list item with a key counts as a field of its own."""
    if isinstance(value, dict):
        if not value and path:
            yield path, value
        for key, below in value.items():
            if below is not None:
                yield from _leaves(below, (*path, key))
        return
    keys = _keys(path)
    if isinstance(value, list) and keys:
        for item in value:
            item_path = (*path, _key(item, keys))
            yield item_path, None
            yield from _leaves(item, item_path)
        return
    yield path, value


def _keys(path: Path) -> tuple[str, ...] | None:
    """The key fields of the list at PATH, or None if an apply replaces the whole list."""
    if not path:
        return None
    if path[-1] == "ports":
        return _PORTS.get("containers" if "containers" in path else path[0])
    return _KEYS.get(path[-1])


def _key(item: Object, keys: tuple[str, ...]) -> str:
    values = {key: item.get(key, "TCP" if key == "protocol" else None) for key in keys}
    return json.dumps(values, separators=(",", ":"), sort_keys=True)


def _find(items: list[Object], key: str) -> Object | None:
    names = tuple(json.loads(key))
    return next((item for item in items if _key(item, names) == key), None)


def _at(value: Any, path: Path) -> Any:
    for step in path:
        if isinstance(value, list):
            value = _find(value, step)
        elif isinstance(value, dict):
            value = value.get(step)
        else:
            return None
    return None if path and path[-1].startswith("{") and value is not None else value


def _remove(value: Any, path: Path) -> None:
    for step in path[:-1]:
        value = _find(value, step) if isinstance(value, list) else value.get(step) if isinstance(value, dict) else None
    if isinstance(value, list):
        item = _find(value, path[-1])
        if item is not None:
            value.remove(item)
    elif isinstance(value, dict):
        value.pop(path[-1], None)


def _merge(live: Object, config: Object, path: Path) -> None:
    for key, value in config.items():
        here = (*path, key)
        keys = _keys(here)
        if value is None:
            live.pop(key, None)
        elif isinstance(value, dict):
            if not isinstance(live.get(key), dict):
                live[key] = {}
            _merge(live[key], value, here)
        elif isinstance(value, list) and keys:
            live[key] = _merged_items(live.get(key) or [], value, keys, here)
        else:
            live[key] = json.loads(json.dumps(value))


def _merged_items(live: list[Object], config: list[Object], keys: tuple[str, ...], path: Path) -> list[Object]:
    items = list(live)
    for wanted in config:
        name = _key(wanted, keys)
        item = _find(items, name)
        if item is None:
            item = {}
            items.append(item)
        _merge(item, wanted, (*path, name))
    return items


def _shown(path: Path) -> str:
    """PATH as kubectl prints it in conflicts, such as `.spec.replicas`."""
    text = ""
    for step in path:
        if step.startswith("{"):
            pairs = ",".join(f"{key}={json.dumps(value)}" for key, value in json.loads(step).items())
            text += f"[{pairs}]"
        else:
            text += f".{step}"
    return text
