"""Lists of the cluster in pages, of which only what lfgpods reads is kept, and that checked. Pure.

What comes may be cut short, garbage or hostile; nothing counts as a list but one that came whole. The only importer
of msgspec, which makes no objects of what is not asked for: of 3,000 pods that is nine tenths.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, TypedDict
from urllib.parse import urlencode

from lfgpods.core.objects import Object
from lfgpods.kube.schema import OBJECT, PARTS, completed

if TYPE_CHECKING:
    import msgspec

PAGE = 5_000
"""Objects in a page. Each page costs the start of a kubectl, and the API server holds one in memory."""
_RESOURCES = {
    "namespaces": ("/api/v1/namespaces", "Namespace"),
    "persistentvolumes": ("/api/v1/persistentvolumes", "PersistentVolume"),
    "persistentvolumeclaims": ("/api/v1/persistentvolumeclaims", "PersistentVolumeClaim"),
    "services": ("/api/v1/services", "Service"),
    "pods": ("/api/v1/pods", "Pod"),
    "deployments": ("/apis/apps/v1/deployments", "Deployment"),
    "leases": ("/apis/coordination.k8s.io/v1/leases", "Lease"),
}
_typed_dict: Any = TypedDict


class PagedList:
    """All objects of some resources in the cluster that SELECTOR matches, page after page.

    A page is what kubectl answers to `words`; it is fed, and ended. `objects` are the list once it is `whole`.
    Those of a single resource are asked for at the API server, without kubectl having a look at them: five times as
    fast. Of several it is one kubectl that has them all in one page, and to start that once counts more for a few.
    """

    def __init__(self, resources: Sequence[str], selector: str) -> None:
        self._resources = resources
        self._path, self._kind = _RESOURCES[resources[0]] if len(resources) == 1 else ("", "")
        self._selector = selector
        self._limit = PAGE
        self._continue = ""
        self._page = bytearray()
        self.objects: list[Object] = []
        self.whole = False

    @property
    def words(self) -> tuple[str, ...]:
        """What kubectl is asked for the next page.

        It names no resourceVersion: such a list is what etcd has, where one of a cache may be of an earlier time.
        """
        if not self._path:
            return ("get", ",".join(self._resources), "--all-namespaces", "-l", self._selector, "-o", "json")
        query = {"labelSelector": self._selector, "limit": str(self._limit or ""), "continue": self._continue}
        asked = urlencode({name: value for name, value in query.items() if value})
        return ("get", "--raw", f"{self._path}?{asked}")

    @property
    def is_begun(self) -> bool:
        return bool(self._continue)

    def feed(self, data: bytes) -> None:
        """Take the next part of a page."""
        self._page += data

    def end_page(self) -> None:
        """Note that the page is over. Raises ValueError, which begins with what has come, where it is none."""
        page, self._page = self._page, bytearray()
        try:
            fields = _decoder(self._kind).decode(page)
            if fields["kind"] != f"{self._kind}List":
                raise TypeError(f"it is no {self._kind}List")
            token = fields["metadata"].get("continue") or ""
            if token and token == self._continue:
                raise TypeError("it does not tell where it goes on")
            for item in fields["items"]:
                if self._kind:
                    item["kind"] = self._kind  # the items of the API server's own lists leave it out
                self.objects.append(completed(item))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(page[:120].decode(errors="replace")) from error
        self._continue, self.whole = token, not token

    def start_again(self) -> None:
        """Begin anew, and in one page, as the API server does not keep the moment of the first one any more."""
        self.objects.clear()
        self._limit, self._continue, self.whole = 0, "", False


@cache
def _decoder(kind: str) -> msgspec.json.Decoder[dict[str, Any]]:
    """Takes a page of KIND apart, or one of any kinds: what is not read is checked for being JSON, and not made."""
    import msgspec  # here, as most commands list nothing

    item = _type_of({"kind": str, **PARTS.get(kind, OBJECT)}, kind)
    metadata = _typed_dict("Metadata", {"continue": str | None}, total=False)
    page = _typed_dict("Page", {"kind": str, "metadata": metadata, "items": list[item]})  # type: ignore[valid-type]
    return msgspec.json.Decoder(page)


def _type_of(shape: Any, name: str) -> Any:
    """The type of the values that have SHAPE."""
    if isinstance(shape, type):
        return shape
    if isinstance(shape, list):
        return list[_type_of(shape[0], name)]  # type: ignore[misc]
    if "*" in shape:
        return dict[str, _type_of(shape["*"], name)]  # type: ignore[misc]
    fields = {field: _type_of(below, f"{name}_{field}") | None for field, below in shape.items()}
    return _typed_dict(name, fields, total=False)
