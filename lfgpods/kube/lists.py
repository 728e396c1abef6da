"""Lists objects of the whole cluster, page by page. Pure.

An answer may be cut short, garbage or hostile: a list counts only once all of it has come. Only the fields that lfgpods
reads become Python objects, which of 3,000 pods is a tenth.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlencode

if TYPE_CHECKING:
    from lfgpods.kube.objects import ListedObject

PAGE = 5_000
"""Objects in a page. Each page costs the start of a kubectl, and the API server holds one in memory."""
RESOURCES = {
    "namespaces": ("/api/v1/namespaces", "Namespace"),
    "persistentvolumes": ("/api/v1/persistentvolumes", "PersistentVolume"),
    "persistentvolumeclaims": ("/api/v1/persistentvolumeclaims", "PersistentVolumeClaim"),
    "services": ("/api/v1/services", "Service"),
    "pods": ("/api/v1/pods", "Pod"),
    "deployments": ("/apis/apps/v1/deployments", "Deployment"),
    "leases": ("/apis/coordination.k8s.io/v1/leases", "Lease"),
}


class PagedList:
    """All objects of some resources in the cluster that SELECTOR matches.

    To get a page, run kubectl with `args`, `feed` its output and call `end_page`. `objects` is the list once it is
    `complete`. A single resource is listed with raw API requests, which is five times as fast as kubectl's own `get`.
    Several resources are listed by one kubectl in one page: for a few objects, each start of kubectl costs more.
    """

    def __init__(self, resources: Sequence[str], selector: str) -> None:
        self._resources = resources
        self._path, self._kind = RESOURCES[resources[0]] if len(resources) == 1 else ("", "")
        self._selector = selector
        self._limit = PAGE
        self._continue = ""
        self._page = bytearray()
        self.objects: list[ListedObject] = []
        self.complete = False

    @property
    def args(self) -> tuple[str, ...]:
        """kubectl's arguments for the next page.

        They name no resourceVersion, so the API server reads from etcd and not from a cache that may be behind.
        """
        if not self._path:
            return ("get", ",".join(self._resources), "--all-namespaces", "-l", self._selector, "-o", "json")
        query = {"labelSelector": self._selector, "limit": str(self._limit or ""), "continue": self._continue}
        given = urlencode({name: value for name, value in query.items() if value})
        return ("get", "--raw", f"{self._path}?{given}")

    @property
    def is_begun(self) -> bool:
        """Whether a page has come, and another one is to come."""
        return bool(self._continue)

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the page."""
        self._page += data

    def end_page(self) -> None:
        """Read the page. Raises ValueError with the beginning of the output if it is no page of this list."""
        from lfgpods.kube.objects import read_list  # loads msgspec

        output, self._page = self._page, bytearray()
        try:
            page = read_list(output, self._kind)
            if page.kind != f"{self._kind}List":
                raise ValueError(f"it is no {self._kind}List")
            token = page.metadata.continue_
            if token and token == self._continue:
                raise ValueError("it continues with itself")
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(output[:120].decode(errors="replace")) from error
        self.objects += page.items
        self._continue, self.complete = token, not token

    def start_again(self) -> None:
        """Start again with a single page, because the API server no longer keeps the first page's version."""
        self.objects.clear()
        self._limit, self._continue, self.complete = 0, "", False
