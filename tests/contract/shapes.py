"""What of an answer is the same on every cluster: the keys and types of its JSON, its text without what differs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lfgpods.hosts.base import Completed
from tests.scope import LABEL

_TEXT = (
    (r"-[bcdfghjklmnpqrstvwxz2456789]{8,10}-[a-z0-9]{5}\b", "-HASH-POD"),
    (r"-[bcdfghjklmnpqrstvwxz2456789]{8,10}\b(?=[\" ])", "-HASH"),
    (r"\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b", "ADDRESS"),
    (r"\bv?1\.\d+\.\d+[-+\w.]*", "VERSION"),
    (r'failed to start exec "[0-9a-f]{64}": ', ""),
    (r"\b(\d+h)?(\d+m)?\d+s\b|\b\d+m\b", "AGE"),
    (r"\b3\d{4}\b", "NODEPORT"),
    (r"[ -]{2,}", "  "),
    (r"(WARNING|Warning): version difference.*\n", ""),
    (r"\s+core\.PersistentVolumeSource\{.*\}\s*", ""),
    (rf'"{LABEL}":"[^"]*",', ""),
    (r"(?s)(is immutable after creation)\n@@ .*", r"\1"),
)


def shape_of(completed: Completed, namespace: str) -> dict[str, Any]:
    """The exit code, the shape of stdout and the text of stderr."""
    stdout = completed.stdout.decode()
    documents = _documents(stdout)
    return {
        "exit_code": completed.exit_code,
        "stdout": _normal(stdout, namespace) if documents is None else _merged(map(shape, documents)),
        "stderr": _normal(completed.stderr.decode(), namespace),
    }


def _documents(text: str) -> list[Any] | None:
    """The JSON documents that TEXT consists of, or None where it is something else."""
    decoder, found, rest = json.JSONDecoder(), [], text.strip()
    while rest.startswith("{"):
        try:
            document, end = decoder.raw_decode(rest)
        except ValueError:
            return None
        found.append(document)
        rest = rest[end:].strip()
    return found if found and not rest else None


def shape(value: Any) -> Any:
    """The type of a value; keys of objects by name, items of a list by kind or type and merged.

    The label of the test's own scope is left out.
    """
    if isinstance(value, dict):
        return {key: "list" if key == "managedFields" else shape(below) for key, below in value.items() if key != LABEL}
    if isinstance(value, list):
        groups: dict[str, list[Any]] = {}
        for item in value:
            name = (item.get("kind") or "item") if isinstance(item, dict) else "item"
            groups.setdefault(name, []).append(shape(item))
        return [{name: _merged(shapes) for name, shapes in sorted(groups.items())}] if groups else []
    return type(value).__name__


def _merged(shapes: Iterable[Any]) -> Any:
    """One shape that has what any of SHAPES has."""
    merged: Any = None
    for one in shapes:
        if isinstance(merged, dict) and isinstance(one, dict):
            merged = {k: _merged(s[k] for s in (merged, one) if k in s) for k in sorted({*merged, *one})}
        elif merged is None or (merged == "NoneType" or merged == []):
            merged = one
        elif isinstance(merged, list) and isinstance(one, list) and one:
            merged = [_merged([merged[0], one[0]])]
        elif one not in ("NoneType", []) and one != merged:
            merged = "|".join(sorted({str(merged), str(one)}))
    return merged


def _normal(text: str, namespace: str) -> str:
    text = text.replace(namespace, "NS").replace(namespace.partition("-")[2], "SLUG")
    for pattern, replacement in _TEXT:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL if "core" in pattern else 0)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def differences(recorded: Any, found: Any, left_out: Mapping[str, str], path: str = "") -> list[str]:
    """Where FOUND is not as RECORDED, as paths; what LEFT_OUT names (by the end of its path) may be missing."""
    if isinstance(recorded, dict) and isinstance(found, dict):
        told = []
        for key in sorted({*recorded, *found}):
            below = f"{path}.{key}"
            if key not in found:
                if not any(below.endswith(name) for name in left_out):
                    told.append(f"{below} is missing")
            elif key not in recorded:
                told.append(f"{below} is too much")
            else:
                told += differences(recorded[key], found[key], left_out, below)
        return told
    if isinstance(recorded, list) and isinstance(found, list) and recorded and found:
        return differences(recorded[0], found[0], left_out, path)
    return [] if recorded == found else [f"{path} is {found!r}, not {recorded!r}"]
