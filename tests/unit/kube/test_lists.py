"""A list in pages is complete and correct, or an error. A part never passes for the whole."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfgpods.core.errors import HostError, KubernetesError, TimeLimitError
from lfgpods.hosts.base import Output
from lfgpods.kube import kubectl, lists
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.lists import PagedList

SELECTOR = "app.kubernetes.io/managed-by=lfgpods"
EXPIRED = (
    b"Error from server (Expired): The provided continue parameter is too old to display a consistent list result. "
    b"You can start a new list without the continue parameter, or use the continue token in this response to retrieve "
    b"the remainder of the results."
)


def pod(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "n"}, "status": {"phase": "Running"}}


def page(names: Sequence[str], following: str = "", kind: str = "PodList") -> bytes:
    metadata = {"resourceVersion": "7", **({"continue": following} if following else {})}
    document = {"kind": kind, "apiVersion": "v1", "metadata": metadata, "items": [pod(name) for name in names]}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


class Server:
    """A host whose kubectl answers `get --raw` with ANSWER(path, query)."""

    name = address = "scripted"
    capacity = None

    def when_full(self, make_room: Callable[[], object]) -> None: ...

    def __init__(self, answer: Callable[[str, dict[str, str]], tuple[int | None, bytes, bytes]]) -> None:
        self._answer = answer
        self.asked: list[tuple[str, dict[str, str]]] = []

    def open(self, argv: Sequence[str], **how: Any) -> Answer:
        path = argv[3] if argv[2] == "--raw" else f"/{argv[2]}"
        parts = urlsplit(path)
        query = {name: value for name, [value] in parse_qs(parts.query).items()}
        self.asked.append((parts.path, query))
        return Answer(*self._answer(parts.path, query))

    def close(self) -> None: ...


class Answer:
    def __init__(self, exit_code: int | None, stdout: bytes, stderr: bytes) -> None:
        self.exit_code = exit_code
        self._outputs = [Output(stdout[at : at + 9]) for at in range(0, len(stdout), 9)] + [Output(b"", stderr)]
        self.closed = False

    def read(self, timeout: float) -> Output:
        return self._outputs.pop(0) if self._outputs else Output(ended=True)

    def write(self, data: bytes) -> None: ...

    def close_stdin(self) -> None: ...

    def close(self) -> None: ...


def names_listed(server: Server, *kinds: str) -> list[str]:
    return [obj.metadata.name for obj in Kubectl(server).get_everywhere(kinds or ["pods"], SELECTOR)]


def test_each_page_is_requested_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "PAGE", 2)
    found = {"": page("ab", "x/+="), "x/+=": page("cd", "y"), "y": page("e")}
    server = Server(lambda path, query: (0, found[query.get("continue", "")], b""))
    assert names_listed(server) == ["a", "b", "c", "d", "e"]
    assert [query.get("continue") for _, query in server.asked] == [None, "x/+=", "y"]
    assert {(path, query["labelSelector"], query["limit"]) for path, query in server.asked} == {
        ("/api/v1/pods", SELECTOR, "2")
    }
    assert not any("resourceVersion" in query for _, query in server.asked), "a list from a cache may be out of date"


def test_kinds_are_listed_in_parallel_and_returned_in_order() -> None:
    kinds = {"/api/v1/pods": "Pod", "/apis/apps/v1/deployments": "Deployment", "/api/v1/namespaces": "Namespace"}

    def answer(path: str, query: dict[str, str]) -> tuple[int, bytes, bytes]:
        items = [{"metadata": {"name": path}, "spec": {"template": {}}}]
        return 0, json.dumps({"items": items, "kind": f"{kinds[path]}List", "metadata": {}}).encode(), b""

    found = Kubectl(Server(answer)).get_everywhere(["pods", "deployments", "namespaces"], SELECTOR)
    assert [(obj.metadata.name, obj.kind) for obj in found] == list(kinds.items())


def test_one_kubectl_lists_a_few_objects_of_several_kinds() -> None:
    objects = [{"kind": kind, "metadata": {"name": kind}, "spec": {}} for kind in ("Pod", "Service")]
    text = json.dumps({"kind": "List", "metadata": {"resourceVersion": ""}, "items": objects}, indent=4).encode()
    server = Server(lambda path, query: (0, text, b""))
    assert [obj.kind for obj in Kubectl(server).get_everywhere(["pods", "services"], SELECTOR, few=True)] == [
        "Pod",
        "Service",
    ]
    assert server.asked == [("/pods,services", {})]


def test_a_single_list_that_takes_too_long_is_replaced_by_pages() -> None:
    server = Server(lambda path, query: (0, page("ab"), b""))
    opened = server.open

    class Silent(Answer):
        def read(self, timeout: float) -> Output:
            raise TimeLimitError("it took too long", "")

    server.open = lambda argv, **_: opened(argv) if argv[2] == "--raw" else Silent(0, b"", b"")  # type: ignore[method-assign]
    assert [obj.metadata.name for obj in Kubectl(server).get_everywhere(["pods"], SELECTOR, few=True)] == [
        "a",
        "b",
    ]


@pytest.mark.parametrize("reason", [EXPIRED, b"Error from server (Gone): too old resource version"])
def test_a_list_whose_version_has_expired_begins_again_in_one_page(reason: bytes) -> None:
    def answer(path: str, query: dict[str, str]) -> tuple[int, bytes, bytes]:
        if "limit" not in query:
            return 0, page("abcd"), b""
        return (1, b"", reason) if "continue" in query else (0, page("ab", "x"), b"")

    assert names_listed(Server(answer)) == ["a", "b", "c", "d"]


def test_a_first_page_that_has_expired_is_an_error() -> None:
    with pytest.raises(KubernetesError) as refused:
        names_listed(Server(lambda path, query: (1, b"", EXPIRED)))
    assert refused.value.code == "expired"


@pytest.mark.parametrize(
    ("stderr", "code"),
    [
        (b'Error from server (Forbidden): pods is forbidden: User "x" cannot list resource "pods"', "forbidden"),
        (b"The connection to the server 127.0.0.1:6443 was refused - did you specify the right host?", "cluster_unreachable"),
        (b"error: unexpected EOF", "cluster_unreachable"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("written", [b"", page("a")[:40], page("a")])
def test_an_error_of_kubectl_is_reported_whatever_it_printed_before(stderr: bytes, code: str, written: bytes) -> None:
    with pytest.raises(KubernetesError) as refused:
        names_listed(Server(lambda path, query: (1, written, stderr)), "pods", "services")
    assert refused.value.code == code


@pytest.mark.parametrize(
    "answer",
    [
        b"", b"ok", b"[]", b"null", b"{}", b'{"kind":"PodList"}', b'{"kind":"PodList","items":null}', page("a", kind="ServiceList"),
        b'{"kind":"PodList","metadata":{},"items":[3]}', b'{"kind":"PodList","metadata":{},"items":[{}]}', page("a") + b"{}",
        b'{"kind":"PodList","metadata":[],"items":[]}', b'{"kind":"PodList","items":[]}', b'{"kind":"PodList","metadata":{"continue":3},"items":[]}',
        b'{"kind":"PodList","metadata":{},"items":[{"metadata":{"name":3}}]}', b'{"kind":"PodList","metadata":{},"items":[,]}',
        b'{"kind":"PodList","metadata":{},"items":[{"metadata":{"name":"a"}},]}', b'{[]:1,"kind":"PodList","metadata":{},"items":[]}',
        page("a").replace(b'"a"', b'"\xff"'), b'{"items":' + b"[" * 100_000, b'{"items":[' + b'{"a":' * 20_000, b'{"kind":' + b"9" * 6000,
    ],
)  # fmt: skip
def test_an_answer_that_is_no_list_is_a_clear_error(answer: bytes) -> None:
    with pytest.raises(KubernetesError) as refused:
        names_listed(Server(lambda path, query: (0, answer, b"")))
    assert refused.value.code == "bad_answer"
    assert "\n" not in refused.value.message


@given(st.data())
def test_a_truncated_list_is_an_error(data: st.DataObject) -> None:
    text = page(["a", "ü€", "c" * 300], "x")
    end = data.draw(st.integers(0, len(text) - 1))
    half = PagedList(["pods"], SELECTOR)
    half.feed(text[:end])
    with pytest.raises(ValueError):  # noqa: PT011 - it begins with kubectl's output
        half.end_page()
    assert not half.complete


def test_an_endless_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lfgpods.hosts.run.MAX_OUTPUT", 5_000)
    with pytest.raises(HostError) as refused:
        names_listed(Server(lambda path, query: (0, page("a" * 2_000), b"")))
    assert refused.value.code == "bad_answer"


def test_an_endless_number_of_pages_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubectl, "MAX_PAGES", 20)
    server = Server(lambda path, query: (0, page("a", f"{query.get('continue', '')}x"), b""))
    with pytest.raises(KubernetesError) as refused:
        names_listed(server)
    assert (refused.value.code, len(server.asked)) == ("bad_answer", 20)
    with pytest.raises(KubernetesError):
        names_listed(Server(lambda path, query: (0, page("a", "always the same"), b"")))


def test_an_end_without_an_exit_code_is_a_lost_host() -> None:
    with pytest.raises(HostError) as lost:
        names_listed(Server(lambda path, query: (None, page("a"), b"")))
    assert lost.value.code == "host_lost"


def test_a_silent_host_is_a_time_limit_error_and_a_slow_list_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 1_000_000, 5))
    monkeypatch.setattr("lfgpods.hosts.run.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    monkeypatch.setattr(kubectl, "PAGE_TIMEOUT", 1e6)
    assert names_listed(Server(lambda path, query: (0, page("ab" * 20), b""))) == [*"ab" * 20]

    class Silent(Answer):
        def read(self, timeout: float) -> Output:
            return Output()

    server = Server(lambda path, query: (0, b"", b""))
    monkeypatch.setattr(server, "open", lambda argv, **_: Silent(0, b"", b""))
    with pytest.raises(TimeLimitError, match="wrote nothing"):
        names_listed(server)
