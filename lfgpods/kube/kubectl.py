"""Typed kubectl verbs over a host. The only place that knows kubectl's words and its errors.

Each call is one remote command. What kubectl refuses is a KubernetesError whose code says what kind of refusal.
"""

from __future__ import annotations

import codecs
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from typing import Any, Protocol

from lfgpods.core.errors import KubernetesError, TimeLimitError
from lfgpods.core.objects import Object
from lfgpods.hosts.base import Completed, Host, Process
from lfgpods.hosts.run import Stream, run, run_side_by_side
from lfgpods.kube.errors import bad_answer, kubectl_error, still_there
from lfgpods.kube.lists import PagedList
from lfgpods.kube.schema import checked

FIELD_MANAGER = "lfgpods"
LABEL_FIELD_MANAGER = "lfgpods-labels"
REQUEST_TIMEOUT = 20.0
APPLY_TRIES = 5
PAGE_TIMEOUT = 65.0
FEW_TIMEOUT = 3.0
TICK = 0.2
MOST_PAGES = 1_000
LONGEST_OBJECT = 16 << 20
_API = ("--request-timeout=15s",)  # kubectl's own limit ends first, so that its error is the one that is told
_PAGE_LIMIT = "--request-timeout=60s"  # for all of a page, over whatever line; silence is noticed earlier


class HostStep(Protocol):
    """A command of the host's that goes before kubectl in the same round trip."""

    @property
    def argv(self) -> Sequence[str]: ...

    def take(self, completed: Completed) -> Completed:
        """What is left of COMPLETED for kubectl's part. Raises the step's own error if it was the step that failed."""


class Kubectl:
    """kubectl on HOST; COMMAND is how it is called there, such as ("k3s", "kubectl")."""

    def __init__(self, host: Host, command: Sequence[str] = ("kubectl",)) -> None:
        self._host = host
        self._command = tuple(command)

    def get(self, references: Sequence[str], namespace: str) -> list[Object]:
        """The objects named by REFERENCES ("kind/name", of the cluster or of NAMESPACE) that exist."""
        return self._objects("get", *references, "-n", namespace, "--ignore-not-found", "-o", "json", *_API)

    def create_and_get(
        self,
        obj: Object,
        references: Sequence[str],
        namespace: str,
        *,
        beside: Sequence[Sequence[str]] = (),
        meanwhile: Callable[[], object] | None = None,
    ) -> tuple[Object, list[Object], str]:
        """Make OBJ, which must not be there yet, and then `get`, in one round trip with the commands BESIDE them.

        MEANWHILE is called while the answer is waited for.
        Returns the object as it was made, what is there, and what those wrote: lines that are no JSON. Raises
        KubernetesError `already_exists`, with nothing made, where another caller was first.
        """
        # OBJ is of our own making: the cluster's schema takes longer to load than all else that this does.
        create = self._argv("create", "-f", "-", "--validate=false", "-o", "json", *_API)
        get = ("get", *references, "-n", namespace, "--ignore-not-found", "-o", "json", *_API)
        payload = json.dumps(obj).encode()
        answer = self._run(
            *get, after=[create], beside=beside, meanwhile=meanwhile, stdin=payload, timeout=2 * REQUEST_TIMEOUT
        )
        objects, said = self._parsed(answer)
        made, *found = objects or [{}]
        if made.get("kind") != obj["kind"]:
            raise bad_answer(self._host, answer.decode(errors="replace"))
        return made, found, said

    def list_command(self, kind: str, form: str) -> tuple[str, ...]:
        """The command that writes what FORM (name, or a jsonpath without braces in its answer) makes of all of a KIND.

        Goes beside another one in the same round trip.
        """
        return self._argv("get", kind, "-o", form, *_API)

    def list_text(self, kind: str, form: str) -> str:
        """What `list_command` writes."""
        return self._run(*self.list_command(kind, form)[len(self._command) :]).decode(errors="replace")

    def get_pods(self, namespace: str, selector: str) -> list[Object]:
        """The pods of NAMESPACE that SELECTOR matches."""
        return self._objects("get", "pods", "-n", namespace, "-l", selector, "-o", "json", *_API)

    def get_everywhere(self, kinds: Sequence[str], selector: str, *, few: bool = False) -> list[Object]:
        """All objects of KINDS in the cluster that SELECTOR matches, reduced to what lfgpods reads of them.

        One remote command for each page of each kind, those of different kinds side by side; or one for everything
        where they are SINGLE_LIST_MAX_OWNERS. Should they not be, that one is given up, and they are listed in pages.
        """
        if few:
            with suppress(TimeLimitError):
                return self._whole([PagedList(kinds, selector)], FEW_TIMEOUT)
        return self._whole([PagedList([kind], selector) for kind in kinds], REQUEST_TIMEOUT)

    def _whole(self, lists: Sequence[PagedList], silence: float) -> list[Object]:
        for _ in range(MOST_PAGES):
            pending = [one for one in lists if not one.whole]
            if not pending:
                return [obj for one in lists for obj in one.objects]
            self._next_pages(pending, silence)
        raise bad_answer(self._host, f"more than {MOST_PAGES} pages")

    def _next_pages(self, lists: Sequence[PagedList], silence: float) -> None:
        streams = [Stream(self._argv(*one.words, _PAGE_LIMIT), one.feed) for one in lists]
        try:
            ended = run_side_by_side(self._host, streams, timeout=PAGE_TIMEOUT, silence=silence)
            for one, completed in zip(lists, ended, strict=True):
                if completed.exit_code == 0:
                    one.end_page()
                    continue
                refused = kubectl_error(completed, self._command)
                if refused.code not in ("expired", "gone") or not one.is_begun:
                    raise refused
                one.start_again()
        except ValueError as error:
            raise bad_answer(self._host, str(error)) from error

    def get_all(self, kind: str, selector: str = "") -> list[Object]:
        """All objects of a KIND of the cluster's own, or those that SELECTOR matches."""
        return self._objects("get", kind, *(["-l", selector] if selector else []), "-o", "json", *_API)

    def get_warnings(self, namespace: str) -> list[Object]:
        """The warning events of NAMESPACE, oldest first."""
        selector = "type=Warning"
        events = self._objects("get", "events", "-n", namespace, "--field-selector", selector, "-o", "json", *_API)
        return sorted(events, key=lambda event: event.get("lastTimestamp") or "")

    def apply(
        self,
        objects: Sequence[Object],
        *,
        field_manager: str = FIELD_MANAGER,
        validate: bool = False,
        first: HostStep | None = None,
        after: Sequence[Sequence[str]] = (),
        then: Sequence[str] | None = None,
    ) -> list[Object]:
        """Apply OBJECTS in their order by server-side apply; returns them as the cluster has them now.

        With VALIDATE a field that the cluster's schema does not know is refused; to load the schema takes a while.

        FIRST and then the commands AFTER go before it in the same round trip; nothing is applied where one fails.
        THEN goes behind it, once all is applied. Does it again where somebody else made or changed one of them at
        the same moment.
        """
        payload = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}).encode()
        manager = f"--field-manager={field_manager}"
        checks = f"--validate={str(validate).lower()}"
        argv = ("apply", "--server-side", "--force-conflicts", manager, checks, "-f", "-", "-o", "json", *_API)

        def try_it() -> list[Object]:
            return self._objects(*argv, stdin=payload, timeout=60.0, first=first, after=after, then=then)

        for _ in range(APPLY_TRIES - 1):
            try:
                return try_it()
            except KubernetesError as error:
                if error.code not in ("already_exists", "conflict"):
                    raise
        return try_it()

    def patch(self, reference: str, namespace: str, patch: Object) -> Object:
        """Merge PATCH into one object, of the cluster or of NAMESPACE; returns it as it is then.

        Raises KubernetesError `conflict` where PATCH names a resourceVersion and the object has another by now.
        """
        words = self.patch_command(reference, namespace, patch, "json")
        found = self._objects(*words[len(self._command) :])
        if not found:
            raise bad_answer(self._host, "")
        return found[0]

    def patch_command(self, reference: str, namespace: str, patch: Object, form: str = "name") -> tuple[str, ...]:
        """The command that does what `patch` does, to go ahead of another one in the same round trip."""
        change = ("--type=merge", "-p", json.dumps(patch))
        return self._argv("patch", reference, "-n", namespace, *change, "-o", form, *_API)

    def annotation(self, reference: str, namespace: str, key: str, value: str | None) -> tuple[str, ...]:
        """The command that sets an annotation, or takes it off, ahead of another one in the same round trip."""
        change = f"{key}-" if value is None else f"{key}={value}"
        return self._argv("annotate", reference, "-n", namespace, "--overwrite", change, *_API)

    def delete(
        self,
        references: Sequence[str],
        namespace: str,
        *,
        wait: float | None = None,
        at_once: bool = False,
        after: Sequence[Sequence[str]] = (),
    ) -> None:
        """Delete the objects that exist; with WAIT, until they are gone.

        AT_ONCE asks no node whether what they stand for has ended: only for pods that are known to have.
        The commands AFTER go before it in the same round trip.
        Raises TimeLimitError after WAIT seconds; the deletion then goes on in the cluster.
        """
        argv = ("delete", *references, "-n", namespace, "--ignore-not-found")
        if wait is None:
            self._run(*argv, *(("--force", "--grace-period=0") if at_once else ()), "--wait=false", after=after)
            return
        limit = f"--timeout={max(1, int(wait))}s"
        try:
            self._run(*argv, "--wait", limit, timeout=wait + 5, after=after)
        except KubernetesError as error:
            if "timed out waiting" not in error.message:
                raise
            raise still_there(references, namespace, wait) from error

    def delete_selected(self, kind: str, namespace: str, selector: str) -> None:
        """Delete all objects of KIND in NAMESPACE that SELECTOR matches, and do not wait for it."""
        self._run(*self.delete_selected_command(kind, namespace, selector)[len(self._command) :])

    def delete_selected_command(self, kind: str, namespace: str, selector: str) -> tuple[str, ...]:
        """The command that does what `delete_selected` does, to go behind another one in the same round trip."""
        return self._argv("delete", kind, "-n", namespace, "-l", selector, "--ignore-not-found", "--wait=false", *_API)

    def wait_gone(self, reference: str, namespace: str, timeout: float) -> None:
        """Wait until the object that now has this name is gone. Raises TimeLimitError after TIMEOUT seconds."""
        limit = f"--timeout={max(1, int(timeout))}s"
        try:
            self._run("wait", "--for=delete", reference, "-n", namespace, limit, timeout=timeout + 5)
        except KubernetesError as error:
            if error.code == "not_found":
                return
            if "timed out waiting" not in error.message:
                raise
            raise still_there((reference,), namespace, timeout) from error

    def watch_pods(self, namespace: str, selector: str, timeout: float) -> Iterator[Object | None]:
        """Each pod of NAMESPACE that SELECTOR matches, now and whenever it changes; None after each TICK in between.

        A pod that goes away comes a last time as it was.
        Ends after TIMEOUT seconds, or earlier when the API server closes the watch.
        """
        limit = f"--request-timeout={max(1, int(timeout) + 5)}s"
        argv = self._argv("get", "pods", "-n", namespace, "-l", selector, "--watch", "-o", "json", limit)
        deadline = time.monotonic() + timeout
        with closing(self._host.open(argv, ends_with_us=True)) as process:
            decode = codecs.getincrementaldecoder("utf-8")("replace").decode
            decoder, text, stderr = json.JSONDecoder(), "", b""
            while time.monotonic() < deadline:
                output = process.read(min(TICK, deadline - time.monotonic()))
                stderr += output.stderr
                text += decode(output.stdout)
                while text := text.lstrip():
                    try:
                        pod, end = decoder.raw_decode(text)
                    except (ValueError, RecursionError) as error:
                        if len(text) > LONGEST_OBJECT or text[0] != "{":
                            raise bad_answer(self._host, text) from error
                        break
                    text = text[end:]
                    try:
                        yield checked(pod)
                    except (KeyError, TypeError) as error:
                        raise bad_answer(self._host, str(pod)) from error
                if output.ended:
                    if process.exit_code:
                        raise kubectl_error(Completed(process.exit_code, b"", stderr), self._command)
                    return
                yield None

    def exec(self, namespace: str, pod: str, argv: Sequence[str]) -> Process:
        """Start ARGV in POD with stdin passed on."""
        return self._host.open(self._argv("exec", "-i", "-n", namespace, pod, "--", *argv))

    def exec_refusal(self, exit_code: int, stderr: bytes) -> KubernetesError:
        """What kubectl meant when an exec ended before anything ran in the pod."""
        return kubectl_error(Completed(exit_code, b"", stderr), self._command)

    def _argv(self, *words: str) -> tuple[str, ...]:
        return (*self._command, *words)

    def _run(
        self,
        *words: str,
        stdin: bytes = b"",
        timeout: float = REQUEST_TIMEOUT,
        first: HostStep | None = None,
        after: Sequence[Sequence[str]] = (),
        then: Sequence[str] | None = None,
        beside: Sequence[Sequence[str]] = (),
        meanwhile: Callable[[], object] | None = None,
    ) -> bytes:
        ahead = [first.argv, *after] if first else [*after]
        *ahead, last = [*ahead, self._argv(*words), then] if then else [*ahead, self._argv(*words)]
        completed = run(self._host, last, after=ahead, beside=beside, meanwhile=meanwhile, stdin=stdin, timeout=timeout)
        if first is not None:
            completed = first.take(completed)
        if completed.exit_code != 0:
            raise kubectl_error(completed, self._command)
        return completed.stdout

    def _objects(
        self,
        *words: str,
        stdin: bytes = b"",
        timeout: float = REQUEST_TIMEOUT,
        first: HostStep | None = None,
        after: Sequence[Sequence[str]] = (),
        then: Sequence[str] | None = None,
    ) -> list[Object]:
        answer = self._run(*words, stdin=stdin, timeout=timeout, first=first, after=after, then=then)
        if after:
            answer = answer[max(0, answer.find(b"{")) :]  # without what those wrote
        objects, rest = self._parsed(answer)
        if rest and not then:
            raise bad_answer(self._host, rest)
        return objects

    def _parsed(self, answer: bytes) -> tuple[list[Object], str]:
        """The objects that ANSWER begins with, and the text behind them."""
        try:
            documents, rest = _documents(answer.decode())
            return [checked(obj) for document in documents for obj in _items(document)], rest
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise bad_answer(self._host, answer.decode(errors="replace")) from error


def _documents(text: str) -> tuple[list[Any], str]:
    """The JSON objects that follow one another at the beginning of TEXT, and the rest of it."""
    decoder, found, text = json.JSONDecoder(), [], text.strip()
    while text.startswith("{"):
        document, end = decoder.raw_decode(text)
        found.append(document)
        text = text[end:].lstrip()
    return found, text


def _items(document: Any) -> list[Any]:
    return list(document["items"]) if document["kind"] == "List" or "items" in document else [document]


def by_kind(objects: Iterable[Object], kind: str) -> list[Object]:
    return [obj for obj in objects if obj["kind"] == kind]
