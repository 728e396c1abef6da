"""Results as text: a table for people, JSON and YAML for programs, names for shells. Prints nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lfgpods.cli.format import Format as Format
from lfgpods.core.text import printable

if TYPE_CHECKING:
    from lfgpods.core.changes import Change
    from lfgpods.core.errors import LfgpodsError
    from lfgpods.core.objects import Object
    from lfgpods.core.pod import Deletion, Pod
    from lfgpods.fleet.orphans import Orphan
    from lfgpods.fleet.sync import Synced
    from lfgpods.store.copying import Copied


def show_pod(pod: Pod, format: Format) -> str:
    if format is Format.NAME:
        return pod.namespace
    if format is not Format.TABLE:
        return _data(pod.as_dict(), format)
    resources = pod.spec.resources
    rows = {
        "Status": pod.status + (f" ({pod.reason})" if pod.reason else ""),
        str(pod.owner.kind).capitalize(): pod.owner.id,
        "Conversation": pod.conversation_id if pod.project_id else None,
        "Namespace": pod.namespace,
        "Pod": pod.pod_name,
        "Image": pod.image,
        "CPU": f"{resources.cpu_requests} requested, {resources.cpu} limit",
        "Memory": f"{resources.memory_requests} requested, {resources.memory} limit",
        "Restricted": "yes (no root, no privileges)" if pod.spec.restricted else None,
        "Runtime class": pod.spec.runtime_class,
        "Volume": f"{pod.volume} ({pod.spec.storage_size}) at /workspace",
        "Storage class": pod.spec.storage_class,
        "On node": " or ".join(sorted(pod.volume_nodes)),
        "Started": _ago(pod.started_at),
        "Last used": _ago(pod.last_used_at),
        "Access URL": ", ".join(f"{port.url} (port {port.port})" for port in pod.ports),
    }
    shown = {f"{name}:": value for name, value in rows.items() if value}
    width = max(map(len, shown))
    return "\n".join(f"{name:{width}}  {printable(value)}" for name, value in shown.items())


def show_pods(pods: Sequence[Pod], format: Format, *, width: int | None = None, chosen: bool = False) -> str:
    """PODS as text. A table is WIDTH columns wide, or as wide as its content; CHOSEN if PODS are a selection."""
    if format is Format.NAME:
        return "\n".join(pod.namespace for pod in pods)
    if format is not Format.TABLE:
        return _data([pod.as_dict() for pod in pods], format)
    if not pods and chosen:
        return "No matching pods."
    if not pods:
        return "No pods yet. Create one: lfgpods create --project-id my-app"
    header = ("OWNER", "STATUS", "IMAGE", "AGE", "VOLUME", "LAST USED", "URL", "NAMESPACE")
    rows = [
        (
            f"{pod.owner.kind}/{pod.owner.id}",
            pod.status,
            pod.image,
            _age(pod.started_at or pod.created_at),
            pod.spec.storage_size,
            _age(pod.last_used_at),
            pod.access_url or "-",
            pod.namespace,
        )
        for pod in pods
    ]
    return _table(rows, header, width)


def show_manifests(objects: Sequence[Object], format: Format) -> str:
    """The objects to apply: YAML documents unless FORMAT is JSON or names."""
    if format is Format.NAME:
        return "\n".join(f"{obj['kind'].lower()}/{obj['metadata']['name']}" for obj in objects)
    if format is Format.JSON:
        return _data({"apiVersion": "v1", "kind": "List", "items": list(objects)}, format)
    return "---\n".join(_data(obj, Format.YAML) + "\n" for obj in objects).rstrip()


def show_deletion(deletion: Deletion, format: Format) -> str:
    if format is Format.NAME:
        return deletion.namespace
    if format is not Format.TABLE:
        return _data(deletion.as_dict(), format)
    if deletion.purged:
        return printable(f"Purged {deletion.owner}: pod, volume and namespace {deletion.namespace} are gone.")
    return printable(f"Deleted the pod of {deletion.owner}. The data is kept in {deletion.volume}.")


def show_changes(changes: Sequence[Change], format: Format, *, width: int | None = None) -> str:
    """CHANGES as text, in the given order. A table is WIDTH columns wide, or as wide as its content."""
    if format is Format.NAME:
        return "\n".join(str(change.id) for change in changes)
    if format is not Format.TABLE:
        return _data([change.as_dict() for change in changes], format)
    if not changes:
        return "No changes yet."
    header = ("WHEN", "OWNER", "ACTION", "OUTCOME", "TOOK", "WHO", "FROM", "DETAIL")
    rows = [
        (
            _age(change.started_at),
            f"{change.owner.kind}/{change.owner.id}" if change.owner else "-",
            change.action,
            change.outcome,
            "-" if change.duration is None else _took(change.duration),
            change.who,
            change.origin,
            ": ".join(filter(None, (change.detail, change.error))) or "-",
        )
        for change in changes
    ]
    return _table(rows, header, width)


def show_synced(synced: Synced, format: Format) -> str:
    if format is Format.NAME:
        return "\n".join(owner.names.namespace for owner in (*synced.added, *synced.changed, *synced.removed))
    if format is not Format.TABLE:
        return _data(synced.as_dict(), format)
    found = "1 pod or kept volume" if synced.pods == 1 else f"{synced.pods} pods and kept volumes"
    counts = (("added", synced.added), ("changed", synced.changed), ("removed", synced.removed))
    updates = ", ".join(f"{len(owners)} {word}" for word, owners in counts if owners)
    return f"Found {found} in the cluster. Database " + (f"updated: {updates}." if updates else "up to date.")


def show_copied(copied: Copied, format: Format) -> str:
    if format is Format.NAME:
        return printable(copied.target)
    if format is not Format.TABLE:
        return _data(copied.as_dict(), format)
    what = f"{_count(copied.pods, 'pod')} and {_count(copied.events, 'change')} of {_count(copied.hosts, 'host')}"
    return printable(f"Copied {what} from {copied.source} to {copied.target}. All rows are the same.")


def show_orphans(orphans: Sequence[Orphan], format: Format, *, width: int | None = None) -> str:
    if format is Format.NAME:
        return "\n".join(f"{orphan.kind}/{orphan.name}" for orphan in orphans)
    if format is not Format.TABLE:
        return _data([orphan.as_dict() for orphan in orphans], format)
    if not orphans:
        return "Nothing to clean up."
    header = ("KIND", "NAME", "OWNER", "AGE", "SIZE", "REMOVABLE", "WHY")
    rows = [
        (
            orphan.kind.value,
            orphan.name,
            f"{orphan.owner.kind}/{orphan.owner.id}" if orphan.owner else "-",
            "-" if orphan.age is None else _span(int(orphan.age)),
            "-" if orphan.size is None else _size(orphan.size),
            "removed" if orphan.removed else "yes" if orphan.removable else "no",
            orphan.error or orphan.why,
        )
        for orphan in orphans
    ]
    return _table(rows, header, width)


def show_error(error: LfgpodsError, format: Format) -> str:
    """ERROR as a line of cause and a line of remedy, or as one JSON object."""
    if format is Format.JSON:
        return json.dumps({"error": {"code": error.code, "message": error.message, "hint": error.hint}})
    lines = [f"Error: {printable(error.message)}"]
    return "\n".join([*lines, f"Hint: {printable(error.hint)}"] if error.hint else lines)


def _data(data: Any, format: Format) -> str:
    if format is Format.JSON:
        return json.dumps(data, indent=2, ensure_ascii=False)
    import yaml

    return str(yaml.safe_dump(data, sort_keys=False, allow_unicode=True)).rstrip()


def _table(rows: Sequence[Sequence[str]], header: Sequence[str], width: int | None) -> str:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in header:
        table.add_column(title, overflow="fold", no_wrap=width is None)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    buffer = io.StringIO()
    Console(file=buffer, width=width or 100_000, color_system=None).print(table)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines())


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _seconds_since(moment: str | None) -> int | None:
    if moment is None:
        return None
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return max(0, int((datetime.now(UTC) - then).total_seconds()))


def _age(moment: str | None) -> str:
    """The time since MOMENT in its largest unit, as kubectl writes it."""
    seconds = _seconds_since(moment)
    return "-" if seconds is None else _span(seconds)


def _took(seconds: float) -> str:
    return f"{seconds:.1f}s" if seconds < 60 else _span(int(seconds))


def _span(seconds: int) -> str:
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _size(kib: int) -> str:
    """A size in KiB as `du -h` writes it."""
    size = float(kib)
    for unit in ("K", "M", "G"):
        if size < 1000:
            return f"{size:.0f}{unit}" if size >= 10 or unit == "K" else f"{size:.1f}{unit}"
        size /= 1024
    return f"{size:.1f}T"


def _ago(moment: str | None) -> str | None:
    return f"{_age(moment)} ago" if moment else None
