"""`get --raw`: the API server's own answer, one page of a list."""

from __future__ import annotations

import base64
import binascii
import json
from urllib.parse import parse_qs, urlsplit

from lfgpods.core.objects import Object
from lfgpods.hosts.embedded.cluster.cluster import Cluster
from lfgpods.hosts.embedded.cluster.errors import ApiError
from lfgpods.hosts.embedded.cluster.kinds import KINDS, Kind
from lfgpods.hosts.embedded.cluster.objects import Objects, Record
from lfgpods.hosts.embedded.kubectl import printing
from lfgpods.hosts.embedded.kubectl.arguments import field_selector, label_selector
from lfgpods.hosts.embedded.kubectl.streams import Streams

_ENCODING = "meta.k8s.io/v1"
_EXPIRED = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list without "
    "the continue parameter, or use the continue token in this response to retrieve the remainder of the results. "
    "Continuing with the provided token results in an inconsistent list - objects that were created, modified, or "
    "deleted between the time the first chunk was returned and now may show up in the list."
)


def get(cluster: Cluster, url: str, streams: Streams) -> int:
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    steps = [step for step in parts.path.split("/") if step]
    steps = steps[2:] if steps[:2] == ["api", "v1"] else steps[3:] if steps[:1] == ["apis"] else []
    namespace = None
    if len(steps) > 2 and steps[0] == "namespaces":
        namespace, steps = steps[1], steps[2:]
    kind = next((kind for kind in KINDS if steps and kind.plural == steps[0]), None)
    if kind is None or len(steps) > 1 or not parts.path.startswith(_root(kind)):
        raise ApiError("NotFound", "the server could not find the requested resource")
    objects = cluster.refresh()
    streams.out(printing.to_json(_page(objects, kind, namespace, query), None))
    return 0


def _root(kind: Kind) -> str:
    return f"/apis/{kind.api_version}/" if kind.group else "/api/v1/"


def _page(objects: Objects, kind: Kind, namespace: str | None, query: dict[str, str]) -> Object:
    by_labels = label_selector(query.get("labelSelector", ""))
    by_fields = field_selector(query.get("fieldSelector", ""))
    limit = _limit(query.get("limit", "0"))
    start = _start(query.get("continue", ""), objects)
    left = sorted((r for r in objects.all(kind, namespace) if _key(r) >= start), key=_key)
    found = [record for record in left if by_labels(record.obj) and by_fields(record.obj)]
    metadata: Object = {"resourceVersion": str(objects.version)}
    if 0 < limit <= len(found):
        found = found[:limit]
        following = [record for record in left if _key(record) > _key(found[-1])]
        # Like the server: more objects follow, whether or not any of them matches.
        if following:
            metadata["continue"] = _token(found[-1], objects)
            if not (query.get("labelSelector") or query.get("fieldSelector")):
                metadata["remainingItemCount"] = len(following)
    items = [{key: value for key, value in r.obj.items() if key not in ("kind", "apiVersion")} for r in found]
    return {"apiVersion": kind.api_version, "items": items, "kind": f"{kind.name}List", "metadata": metadata}


def _key(record: Record) -> str:
    """The key that orders the objects of a kind in the server's storage."""
    return f"{record.namespace}/{record.name}" if record.kind.namespaced else record.name


def _limit(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ApiError("BadRequest", f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _token(last: Record, objects: Objects) -> str:
    token = {"v": _ENCODING, "rv": objects.version, "start": f"{_key(last)}\0"}
    return base64.urlsafe_b64encode(json.dumps(token, separators=(",", ":")).encode()).decode().rstrip("=")


def _start(token: str, objects: Objects) -> str:
    """The key at which the page of TOKEN starts. Raises ApiError if the token is not valid or has expired.

    There are no old versions of objects, so a token expires as soon as any object changes.
    """
    if not token:
        return ""
    try:
        fields = json.loads(base64.b64decode(token + "=" * (-len(token) % 4), altchars="-_", validate=True))
        version, start = int(fields["rv"]), str(fields["start"])
    except binascii.Error:
        wrong = "illegal base64 data at input byte 0"
    except (ValueError, KeyError, TypeError):
        wrong = "it names no start"
    else:
        if version != objects.version:
            raise ApiError("Expired", _EXPIRED)
        return start
    raise ApiError("BadRequest", f"invalid continue token: continue key is not valid: {wrong}")
