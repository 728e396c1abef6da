"""kubectl's verbs over a host: the only place that knows how kubectl is called.

Each method is one remote command. Those that end in `_step` return a step of a round trip instead. If kubectl refuses,
they raise a KubernetesError whose code says why.
"""

from __future__ import annotations

import codecs
import json
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from lfgpods.core.errors import KubernetesError, TimeLimitError
from lfgpods.core.objects import Object
from lfgpods.hosts.base import Completed, Host, Process
from lfgpods.hosts.round_trip import RoundTrip, Step
from lfgpods.hosts.run import Stream, run, run_parallel
from lfgpods.kube.errors import bad_answer, kubectl_error, still_there
from lfgpods.kube.kinds import of_kind
from lfgpods.kube.lists import PagedList

if TYPE_CHECKING:
    from lfgpods.kube.objects import Event, KubeObject, ListedObject, Pod

T = TypeVar("T")

FIELD_MANAGER = "lfgpods"
LABEL_FIELD_MANAGER = "lfgpods-labels"
REQUEST_TIMEOUT = 20.0
APPLY_TIMEOUT = 60.0
APPLY_TRIES = 5
PAGE_TIMEOUT = 65.0
FEW_TIMEOUT = 3.0
TICK = 0.2
MAX_PAGES = 1_000
MAX_OBJECT = 16 << 20
_API = ("--request-timeout=15s",)  # shorter than ours, so that kubectl reports its own error
_PAGE_LIMIT = "--request-timeout=60s"  # for a whole page on any connection; the idle timeout is shorter


class Kubectl:
    """kubectl on HOST; COMMAND is how it is called there, such as ("k3s", "kubectl")."""

    def __init__(self, host: Host, command: Sequence[str] = ("kubectl",)) -> None:
        self.host = host
        self._command = tuple(command)

    def get(self, references: Sequence[str], namespace: str) -> list[KubeObject]:
        """The existing objects among REFERENCES ("kind/name"), cluster-wide or in NAMESPACE."""
        return self._do(self.get_step(references, namespace))

    def get_step(self, references: Sequence[str], namespace: str) -> Step[list[KubeObject]]:
        """The step that does what `get` does. An object of another kind is a bad answer."""
        step = self._objects_step("get", *references, "-n", namespace, "--ignore-not-found", "-o", "json", *_API)
        kinds = {reference.partition("/")[0] for reference in references}

        def parse(completed: Completed) -> list[KubeObject]:
            objects = step.parse(completed)
            if any(obj.kind.lower() not in kinds for obj in objects):
                raise bad_answer(self.host, completed.stdout.decode(errors="replace"))
            return objects

        return Step(step.argv, parse)

    def create_step(self, obj: Object) -> Step[KubeObject]:
        """The step that creates OBJ and returns it; `already_exists` if another caller was first."""
        # No validation: loading the cluster's schema takes longer than the rest of this step.
        argv = self._argv("create", "-f", "-", "--validate=false", "-o", "json", *_API)
        return Step(argv, self._one_object, json.dumps(obj).encode())

    def list_text(self, kind: str, form: str) -> str:
        """All objects of a KIND, as FORM (name, or a jsonpath) prints them."""
        return self._ask("get", kind, "-o", form, *_API).decode(errors="replace")

    def get_pods(self, namespace: str, selector: str) -> list[Pod]:
        """The pods of NAMESPACE that SELECTOR matches."""
        objects = self._objects("get", "pods", "-n", namespace, "-l", selector, "-o", "json", *_API)
        return of_kind(objects, "Pod")

    def get_everywhere(self, kinds: Sequence[str], selector: str, *, few: bool = False) -> list[ListedObject]:
        """All objects of KINDS in the cluster that SELECTOR matches.

        Each page of each kind is one remote command; different kinds are listed in parallel. With FEW, one
        command lists them all; if that takes too long, they are listed in pages.
        """
        _load_types()
        if few:
            with suppress(TimeLimitError):
                return self._whole([PagedList(kinds, selector)], FEW_TIMEOUT)
        return self._whole([PagedList([kind], selector) for kind in kinds], REQUEST_TIMEOUT)

    def _whole(self, lists: Sequence[PagedList], idle_timeout: float) -> list[ListedObject]:
        for _ in range(MAX_PAGES):
            pending = [one for one in lists if not one.complete]
            if not pending:
                return [obj for one in lists for obj in one.objects]
            self._next_pages(pending, idle_timeout)
        raise bad_answer(self.host, f"more than {MAX_PAGES} pages")

    def _next_pages(self, lists: Sequence[PagedList], idle_timeout: float) -> None:
        streams = [Stream(self._argv(*one.args, _PAGE_LIMIT), one.feed) for one in lists]
        try:
            ended = run_parallel(self.host, streams, timeout=PAGE_TIMEOUT, idle_timeout=idle_timeout)
            for one, completed in zip(lists, ended, strict=True):
                if completed.exit_code == 0:
                    one.end_page()
                    continue
                refused = kubectl_error(completed, self._command)
                if refused.code not in ("expired", "gone") or not one.is_begun:
                    raise refused
                one.start_again()
        except ValueError as error:
            raise bad_answer(self.host, str(error)) from error

    def get_all(self, kind: str, selector: str = "") -> list[KubeObject]:
        """The cluster-wide objects of a KIND that SELECTOR matches, or all of them."""
        return self._objects("get", kind, *(["-l", selector] if selector else []), "-o", "json", *_API)

    def get_warnings(self, namespace: str) -> list[Event]:
        """The warning events of NAMESPACE, oldest first."""
        selector = "type=Warning"
        objects = self._objects("get", "events", "-n", namespace, "--field-selector", selector, "-o", "json", *_API)
        return sorted(of_kind(objects, "Event"), key=lambda event: event.last_timestamp)

    def apply(
        self, objects: Sequence[Object], *, field_manager: str = FIELD_MANAGER, before: Sequence[Step[Any]] = ()
    ) -> list[KubeObject]:
        """Apply OBJECTS in their order by server-side apply. Returns them as the cluster has them now.

        The steps BEFORE it travel in the same round trip. See `send` for conflicts.
        """
        trip = RoundTrip()
        for step in before:
            trip.add(step)
        applied = trip.add(self.apply_step(objects, field_manager=field_manager))
        self.send(trip)
        return applied.result

    def apply_step(
        self, objects: Sequence[Object], *, field_manager: str = FIELD_MANAGER, validate: bool = False
    ) -> Step[list[KubeObject]]:
        """The step that does what `apply` does.

        With VALIDATE, a field that the cluster's schema does not know is refused; loading the schema takes a while.
        """
        payload = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}).encode()
        flags = (f"--field-manager={field_manager}", f"--validate={str(validate).lower()}", "-f", "-", "-o", "json")
        return self._objects_step("apply", "--server-side", "--force-conflicts", *flags, *_API, stdin=payload)

    def send(self, trip: RoundTrip, *, timeout: float = APPLY_TIMEOUT) -> None:
        """Send TRIP to the host. Retries if another caller changed one of its objects at the same moment."""
        for _ in range(APPLY_TRIES - 1):
            try:
                trip.send(self.host, timeout=timeout)
                return
            except KubernetesError as error:
                if error.code not in ("already_exists", "conflict"):
                    raise
        trip.send(self.host, timeout=timeout)

    def patch(self, reference: str, namespace: str, patch: Object) -> KubeObject:
        """Merge PATCH into one object, cluster-wide or in NAMESPACE. Returns the new object.

        Raises KubernetesError `conflict` if PATCH names a resourceVersion and the object has another by now.
        """
        return self._do(self.patch_step(reference, namespace, patch))

    def patch_step(self, reference: str, namespace: str, patch: Object) -> Step[KubeObject]:
        """The step that does what `patch` does."""
        change = ("--type=merge", "-p", json.dumps(patch))
        return Step(self._argv("patch", reference, "-n", namespace, *change, "-o", "json", *_API), self._one_object)

    def annotate_step(self, reference: str, namespace: str, key: str, value: str | None) -> Step[bytes]:
        """The step that sets an annotation, or removes it if VALUE is None."""
        change = f"{key}-" if value is None else f"{key}={value}"
        return Step(self._argv("annotate", reference, "-n", namespace, "--overwrite", change, *_API), self._stdout)

    def delete(
        self,
        references: Sequence[str],
        namespace: str,
        *,
        wait: float | None = None,
        at_once: bool = False,
        before: Sequence[Step[Any]] = (),
    ) -> None:
        """Delete the objects that exist; with WAIT, until they are gone.

        AT_ONCE does not wait for the nodes' confirmation. Use it only for pods that have ended.
        The steps BEFORE it travel in the same round trip.
        Raises TimeLimitError after WAIT seconds; the deletion then goes on in the cluster.
        """
        argv = ("delete", *references, "-n", namespace, "--ignore-not-found")
        if wait is None:
            trip = RoundTrip()
            for step in before:
                trip.add(step)
            force = ("--force", "--grace-period=0") if at_once else ()
            trip.add(Step(self._argv(*argv, *force, "--wait=false"), self._stdout))
            trip.send(self.host, timeout=REQUEST_TIMEOUT)
            return
        limit = f"--timeout={max(1, int(wait))}s"
        try:
            self._ask(*argv, "--wait", limit, timeout=wait + 5)
        except KubernetesError as error:
            if "timed out waiting" not in error.message:
                raise
            raise still_there(references, namespace, wait) from error

    def delete_selected(self, kind: str, namespace: str, selector: str) -> None:
        """Delete all objects of KIND in NAMESPACE that SELECTOR matches, without waiting."""
        self._do(self.delete_selected_step(kind, namespace, selector))

    def delete_selected_step(self, kind: str, namespace: str, selector: str) -> Step[bytes]:
        """The step that does what `delete_selected` does."""
        argv = self._argv("delete", kind, "-n", namespace, "-l", selector, "--ignore-not-found", "--wait=false", *_API)
        return Step(argv, self._stdout)

    def wait_gone(self, reference: str, namespace: str, timeout: float) -> None:
        """Wait until the object that now has this name is gone. Raises TimeLimitError after TIMEOUT seconds."""
        limit = f"--timeout={max(1, int(timeout))}s"
        try:
            self._ask("wait", "--for=delete", reference, "-n", namespace, limit, timeout=timeout + 5)
        except KubernetesError as error:
            if error.code == "not_found":
                return
            if "timed out waiting" not in error.message:
                raise
            raise still_there((reference,), namespace, timeout) from error

    def watch_pods(self, namespace: str, selector: str, timeout: float) -> Iterator[Pod | None]:
        """Yield each pod of NAMESPACE that SELECTOR matches, now and whenever it changes, and None after each TICK.

        A removed pod is yielded once more, in its last state. Ends after TIMEOUT seconds, or earlier if the API server
        closes the watch.
        """
        limit = f"--request-timeout={max(1, int(timeout) + 5)}s"
        argv = self._argv("get", "pods", "-n", namespace, "-l", selector, "--watch", "-o", "json", limit)
        deadline = time.monotonic() + timeout
        with closing(self.host.open(argv, ends_with_us=True)) as process:
            decode = codecs.getincrementaldecoder("utf-8")("replace").decode
            decoder, text, stderr = json.JSONDecoder(), "", b""
            while time.monotonic() < deadline:
                output = process.read(min(TICK, deadline - time.monotonic()))
                stderr += output.stderr
                text += decode(output.stdout)
                while text := text.lstrip():
                    try:
                        document, end = decoder.raw_decode(text)
                    except (ValueError, RecursionError) as error:
                        if len(text) > MAX_OBJECT or text[0] != "{":
                            raise bad_answer(self.host, text) from error
                        break
                    yield from of_kind(self._read([document], text), "Pod")
                    text = text[end:]
                if output.ended:
                    if process.exit_code:
                        raise kubectl_error(Completed(process.exit_code, b"", stderr), self._command)
                    return
                yield None

    def exec(self, namespace: str, pod: str, argv: Sequence[str]) -> Process:
        """Start ARGV in POD, with stdin."""
        return self.host.open(self._argv("exec", "-i", "-n", namespace, pod, "--", *argv))

    def exec_refusal(self, exit_code: int, stderr: bytes) -> KubernetesError:
        """Return the error of an exec that ended before anything ran in the pod."""
        return kubectl_error(Completed(exit_code, b"", stderr), self._command)

    def _argv(self, *words: str) -> tuple[str, ...]:
        return (*self._command, *words)

    def _do(self, step: Step[T], *, timeout: float = REQUEST_TIMEOUT) -> T:
        return step.parse(run(self.host, step.argv, stdin=step.stdin, timeout=timeout))

    def _ask(self, *words: str, timeout: float = REQUEST_TIMEOUT) -> bytes:
        return self._do(Step(self._argv(*words), self._stdout), timeout=timeout)

    def _objects(self, *words: str) -> list[KubeObject]:
        return self._do(self._objects_step(*words))

    def _objects_step(self, *words: str, stdin: bytes = b"") -> Step[list[KubeObject]]:
        _load_types()
        return Step(self._argv(*words), self._parsed, stdin)

    def _stdout(self, completed: Completed) -> bytes:
        if completed.exit_code != 0:
            raise kubectl_error(completed, self._command)
        return completed.stdout

    def _parsed(self, completed: Completed) -> list[KubeObject]:
        """The object or the items of the list that kubectl printed; empty if it printed nothing."""
        answer = self._stdout(completed)
        text = answer.decode(errors="replace")
        if not answer.strip():
            return []
        try:
            items = _items(json.loads(answer))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise bad_answer(self.host, text) from error
        return self._read(items, text)

    def _read(self, documents: Sequence[Any], answer: str) -> list[KubeObject]:
        """Read DOCUMENTS, the JSON in kubectl's ANSWER, as objects."""
        from lfgpods.kube.objects import read_object  # loads msgspec

        try:
            return [read_object(document) for document in documents]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise bad_answer(self.host, answer) from error

    def _one_object(self, completed: Completed) -> KubeObject:
        objects = self._parsed(completed)
        if len(objects) != 1:
            raise bad_answer(self.host, completed.stdout.decode(errors="replace"))
        return objects[0]


@cache
def _load_types() -> None:
    """Load the types of objects in a thread, while kubectl works on the answer that needs them."""
    threading.Thread(target=import_module, args=("lfgpods.kube.objects",), daemon=True).start()


def _items(document: Any) -> list[Any]:
    return list(document["items"]) if document["kind"] == "List" or "items" in document else [document]
