"""Lists of the API server in pages, taken apart while they come: an object is all of a list that is held at a time.

Pure. What comes may be cut short, garbage or without end; nothing counts as a list but one that came whole.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Generator, Sequence
from typing import Any
from urllib.parse import urlencode

from lfgpods.labels import Object
from lfgpods.shapes import reduced

PAGE = 5_000
"""Objects in a page. Each page costs the start of a kubectl, and the API server holds one in memory."""
LONGEST_OBJECT = 16 << 20
_BLOCK = 1 << 18
_RESOURCES = {
    "namespaces": ("/api/v1/namespaces", "Namespace"),
    "persistentvolumes": ("/api/v1/persistentvolumes", "PersistentVolume"),
    "persistentvolumeclaims": ("/api/v1/persistentvolumeclaims", "PersistentVolumeClaim"),
    "services": ("/api/v1/services", "Service"),
    "pods": ("/api/v1/pods", "Pod"),
    "deployments": ("/apis/apps/v1/deployments", "Deployment"),
    "leases": ("/apis/coordination.k8s.io/v1/leases", "Lease"),
}


class ObjectList:
    """All objects of some resources in the cluster that SELECTOR matches, as page after page of them is fed.

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
        self._page = PageReader(self._add)
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
        """Take the next part of a page. Raises ValueError, TypeError, KeyError or RecursionError for what is none."""
        self._page.feed(data)

    def end_page(self) -> None:
        """Note that the page is over. Raises as `feed` does, and where the page has not come whole."""
        fields = self._page.end()
        if fields.get("kind") != f"{self._kind}List":
            raise TypeError(f"it is no {self._kind}List")
        metadata = fields.get("metadata")
        token = metadata.get("continue") or "" if isinstance(metadata, dict) else None
        if not isinstance(token, str) or (token and token == self._continue):
            raise TypeError("it does not tell where it goes on")
        self._continue, self.whole = token, not token
        self._page = PageReader(self._add)

    def start_again(self) -> None:
        """Begin anew, and in one page, as the API server does not keep the moment of the first one any more."""
        self.objects.clear()
        self._limit, self._continue, self.whole = 0, "", False
        self._page = PageReader(self._add)

    def _add(self, item: Object) -> None:
        if self._kind:
            item["kind"] = self._kind  # the items of the API server's own lists leave it out
        self.objects.append(reduced(item))


class PageReader:
    """Takes the JSON of a list apart as it comes: ON_ITEM is called with each of its items, which are mappings."""

    def __init__(self, on_item: Callable[[Object], None]) -> None:
        self._on_item = on_item
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self._raw_decode = json.JSONDecoder().raw_decode
        self._fields: Object = {}
        self._new = bytearray()
        self._text = ""
        self._at = 0
        self._has_items = False
        self._ended = False
        self._reading = self._document()
        next(self._reading)

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises ValueError or RecursionError as soon as they can be no part of a list."""
        self._new += data
        # As much again as is left, so that an object which comes in many parts is not tried at each of them.
        if len(self._new) >= max(_BLOCK, len(self._text) - self._at):
            self._go_on()

    def end(self) -> Object:
        """The fields of the list but for its items. Raises ValueError where it has not come whole."""
        self._ended = True
        self._go_on()
        return self._fields

    def _go_on(self) -> None:
        self._text = self._text[self._at :] + self._decode(bytes(self._new), self._ended)
        self._new.clear()
        self._at = 0
        next(self._reading)

    def _document(self) -> Generator[None, None, None]:
        """Reads as far as the text goes, and goes on where it was when there is more."""
        yield
        yield from self._one_of("{")
        while True:
            name = yield from self._value()
            yield from self._one_of(":")
            if name == "items":
                yield from self._items()
            else:
                self._fields[name] = yield from self._value()
            if (yield from self._one_of(",}")) == "}":
                break
        if not self._has_items:
            raise ValueError("it is no list")
        while _after_space(self._text, self._at) == len(self._text):
            yield
        raise ValueError("something follows the list")

    def _items(self) -> Generator[None, None, None]:
        yield from self._one_of("[")
        following = yield from self._one_of("{]")
        while following != "]":
            self._at -= 1
            self._on_item((yield from self._value()))
            if (yield from self._one_of(",]")) == "]":
                break
            following = yield from self._one_of("{")
        self._has_items = True

    def _one_of(self, characters: str) -> Generator[None, None, str]:
        """The next character that is no space, which has to be one of CHARACTERS."""
        while True:
            self._at = _after_space(self._text, self._at)
            if self._at < len(self._text):
                character = self._text[self._at]
                if character not in characters:
                    raise ValueError(f"{character!r} where one of {characters!r} has to be")
                self._at += 1
                return character
            yield from self._more()

    def _value(self) -> Generator[None, None, Any]:
        """The next value, once something follows it: half a number is one, too."""
        while True:
            try:
                value, end = self._raw_decode(self._text, _after_space(self._text, self._at))
            except ValueError:
                if len(self._text) - self._at > LONGEST_OBJECT:
                    raise
            else:
                if end < len(self._text):
                    self._at = end
                    return value
            yield from self._more()

    def _more(self) -> Generator[None, None, None]:
        if self._ended:
            raise ValueError("the list was cut short")
        yield


_SPACE = re.compile(r"[ \t\r\n]*")


def _after_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at
