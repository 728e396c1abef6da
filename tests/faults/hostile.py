"""Input that means harm: words for every place that takes text, and replies of a host that is broken or hostile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from lfgpods import LfgpodsError
from lfgpods.cli.output import Format, show_error
from lfgpods.core.spec import Request
from lfgpods.hosts.base import Host, Output, Process

CANARY = "canary"
"""The file that a command makes which was not to run, in the current folder."""

WORDS = [
    "", " ", ".", "..", "/", "~", "*", "-", "--", "-rf", "--purge", "--help", "-n kube-system", "../../etc", "/etc/passwd",
    "$(touch canary)", "`touch canary`", "; touch canary", "| touch canary", "&& touch canary", "\ntouch canary\n",
    "' ; touch canary ; '", '" ; touch canary ; "', "$IFS$PATH", "${PATH}", "!!", "%s%n%d", "\\", "\\0101", "%b",
    "\0", "\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\r", "a\nb", "a\r\nb", "\t", "\x7f", "\u202e", "\u2028", "\ufeff",
    "\ud800", "\udcff", "😀", "é", "e\u0301", "٣", "İ", "ß", "[bold]b[/bold]", "[/]", "~nosuchuser/x",
    "{{ 7 * 7 }}", "{% raw %}", "{# no #}", "{{ ''.__class__ }}", "---", "...", "&a *a", "!!python/object:os.system",
    "<<: *a", "null", "true", "yes", "1e3", "0x10", "1_000", ".inf", "key: value", "- item", "# no", "|", ">", "@", "%",
    "kube-system", "default", "proj-a", "a--aaaaaaaaaaaaaaaa", "A--AAAAAAAAAAAAAAAA", "a" * 63, "a" * 64, "a" * 300,
    "busybox", "Busybox", "a:b:c", "a@sha256:x", "1Gi", "-1", "0", "1GB", "65536", "8080", "9" * 5000, '{"a": 1}', "'", '"',
]  # fmt: skip

words = st.sampled_from(WORDS)
texts = st.one_of(
    words,
    st.lists(words, min_size=2, max_size=4).map("".join),
    st.text(max_size=70),
    st.text(st.characters(max_codepoint=0x9F), max_size=40),
    st.binary(max_size=40).map(lambda data: data.decode(errors="surrogateescape")),
    st.from_regex(r"[a-zA-Z0-9]([-_.a-zA-Z0-9]{0,70}[a-zA-Z0-9])?", fullmatch=True),
)

_ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.builds(list), st.builds(dict), st.builds(lambda: [None]), st.builds(lambda: [[]]),
    st.builds(lambda: {"a": None}), st.just("x").map(lambda text: text * 10_000), st.just("\x1b[31m\x07\r\n"), texts,
)  # fmt: skip
_GONE = object()


@st.composite
def damaged(draw: st.DrawFn, value: Any) -> Any:
    """VALUE with one to three of its parts, at any depth, replaced by something else or taken away."""
    value = deepcopy(value)
    for _ in range(draw(st.integers(1, 3))):
        parent: Any = None
        key: Any = None
        here = value
        while isinstance(here, dict | list) and here and (parent is None or draw(st.integers(0, 4))):
            places = sorted(here) if isinstance(here, dict) else list(range(len(here)))
            parent, key = here, draw(st.sampled_from(places))
            here = parent[key]
        if parent is None:
            return draw(_ODD)
        odd = draw(st.one_of(st.just(_GONE), _ODD))
        if odd is _GONE:
            del parent[key]
        else:
            parent[key] = odd
    return value


@dataclass(frozen=True)
class Reply:
    """How the host answers one command."""

    exit_code: int | None = 0
    stdout: bytes = b""
    stderr: bytes = b""


_ERRORS = [
    b'Error from server (NotFound): namespaces "proj-a" not found', b'Error from server (AlreadyExists): it "x" already exists',
    b"Error from server (Conflict): the object has been modified", b"Error from server (\x1b[31m): no", b"error: timed out waiting",
    b"Error from server (Forbidden): exceeded quota: q", b"The connection to the server was refused", b"sudo: a password is required",
    b"error: unable to upgrade connection: container not found", b"panic: runtime error\ngoroutine 1 [running]:", b"\xff\xfe\x00",
]  # fmt: skip


_HUGE = {
    "deep": b"[" * 100_000, "deeper": b'{"a":' * 20_000, "long": b"x" * 3_000_000, "number": b'{"kind": "List", "items": %b}' % (b"9" * 6000),
}  # fmt: skip


def replies(objects: Sequence[Any]) -> st.SearchStrategy[Reply]:
    """Answers of a host whose true answer would hold OBJECTS: the truth, damage to it, garbage, errors and silence."""

    def written(value: Any) -> bytes:
        return json.dumps(value).encode(errors="surrogatepass")

    truth = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    each = [written(obj) for obj in objects]
    stdout = st.one_of(
        st.just(written(truth)),
        damaged(truth).map(written),
        damaged(truth).map(written),
        st.sampled_from(objects).flatmap(damaged).map(written),
        st.sampled_from(each),
        st.lists(st.sampled_from(each), max_size=3).map(b"\n".join),
        st.binary(max_size=60),
        texts.map(lambda text: text.encode(errors="surrogatepass")),
        st.sampled_from([b"", b"\n", b"[]", b"{}", b"null", b'"\xff"', b'{"kind": "List", "items": 1}']),
        st.sampled_from(sorted(_HUGE)).map(_HUGE.__getitem__),
        st.just(written(truth)).map(lambda data: data[: len(data) // 2]),
    )
    stderr = st.one_of(st.just(b""), st.sampled_from(_ERRORS), st.binary(max_size=60))
    codes = st.sampled_from([0, 0, 0, 0, 1, 1, 126, 127, 255, None])
    return st.builds(Reply, codes, stdout, stderr)


class Clock:
    """Runs ahead of the true one by what every command is made to take, so that limits are reached without a wait."""

    COMMAND = 3.0

    def __init__(self) -> None:
        self._true = time.monotonic
        self._ahead = 0.0

    def __call__(self) -> float:
        return self._true() + self._ahead

    def advance(self) -> None:
        self._ahead += self.COMMAND


class EndlessError(BaseException):
    """Far more commands than any limit allows."""


class HostileHost:
    """Answers each command with the next reply, over and over."""

    name = address = "hostile"
    capacity = None
    MOST = 400

    def __init__(self, given: Sequence[Reply], clock: Clock) -> None:
        self._given = given
        self._clock = clock
        self._count = 0

    def open(self, argv: Sequence[str], **how: Any) -> HostileProcess:
        self._clock.advance()
        self._count += 1
        if self._count > self.MOST:
            raise EndlessError(f"{self._count} commands, the last one {argv!r:.300}")
        return HostileProcess(self._given[self._count % len(self._given)])

    def when_full(self, make_room: Callable[[], object]) -> None: ...

    def close(self) -> None: ...


class TurncoatHost:
    """HOST itself, but for one command, which gets another reply."""

    capacity = None

    def __init__(self, host: Host, number: int, reply: Reply) -> None:
        self._host = host
        self._left = number
        self._reply = reply
        self._lock = threading.Lock()
        self.name, self.address = host.name, host.address

    def open(self, argv: Sequence[str], **how: Any) -> Process:
        with self._lock:
            self._left -= 1
            now = self._left == -1
        return HostileProcess(self._reply) if now else self._host.open(argv, **how)

    def when_full(self, make_room: Callable[[], object]) -> None: ...

    def close(self) -> None: ...


class HostileProcess:
    def __init__(self, reply: Reply) -> None:
        self.exit_code = reply.exit_code
        self._outputs: Iterator[Output] = iter([Output(reply.stdout), Output(b"", reply.stderr)])

    def read(self, timeout: float) -> Output:
        return next(self._outputs, Output(ended=True))

    def write(self, data: bytes) -> None: ...

    def close_stdin(self) -> None: ...

    def close(self) -> None: ...


def harmless(text: str) -> bool:
    """Whether a terminal only prints it."""
    return all(char.isprintable() or char == "\n" for char in text)


def skeleton(value: Any) -> Any:
    """The structure of manifests without their values; annotations hold what they like."""
    if isinstance(value, dict):
        return {key: None if key == "annotations" else skeleton(below) for key, below in sorted(value.items())}
    if isinstance(value, list):
        return [skeleton(below) for below in value]
    return type(value).__name__


requests = st.builds(
    Request,
    image=st.none() | texts,
    memory=st.none() | texts,
    cpu=st.none() | texts,
    storage_size=st.none() | texts,
    ports=st.just((1,)) | st.integers().map(lambda port: (port,)),
)


def check_error(error: LfgpodsError, *names: str) -> None:
    """ERROR can be shown to people and programs, and names one of NAMES."""
    told = show_error(error, Format.TABLE)
    assert harmless(told)
    assert json.loads(show_error(error, Format.JSON))["error"]["code"] == error.code
    assert not names or any(name in told for name in names), told
