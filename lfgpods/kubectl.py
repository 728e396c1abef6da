"""Typed kubectl verbs over a host. The only place that knows kubectl's words and its errors.

Each call is one remote command. What kubectl refuses is a KubernetesError whose code says what kind of refusal.
"""

from __future__ import annotations

import codecs
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Protocol

from lfgpods.errors import KubernetesError, TimeLimitError
from lfgpods.hosts import Completed, Host, Process, run
from lfgpods.labels import Object
from lfgpods.shapes import checked

FIELD_MANAGER = "lfgpods"
LABEL_FIELD_MANAGER = "lfgpods-labels"
REQUEST_TIMEOUT = 20.0
APPLY_TRIES = 5
LONGEST_OBJECT = 16 << 20
_API = ("--request-timeout=15s",)  # kubectl's own limit ends first, so that its error is the one that is told


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
        self, obj: Object, references: Sequence[str], namespace: str, *, after: Sequence[Sequence[str]] = ()
    ) -> tuple[str, Object, list[Object]]:
        """Make OBJ, which must not be there yet, and then `get`, in one round trip that the commands AFTER begin.

        Returns what those wrote, the object as it was made, and what is there. Raises KubernetesError
        `already_exists`, with nothing made, where another caller was first.
        """
        create = self._argv("create", "-f", "-", "-o", "json", *_API)
        get = ("get", *references, "-n", namespace, "--ignore-not-found", "-o", "json", *_API)
        payload = json.dumps(obj).encode()
        answer = self._run(*get, after=[*after, create], stdin=payload, timeout=2 * REQUEST_TIMEOUT)
        said, brace, rest = answer.partition(b"{")
        made, *found = self._parsed(brace + rest) or [{}]
        if made.get("kind") != obj["kind"]:
            raise _bad_answer(self._host, answer.decode(errors="replace"))
        return said.decode(errors="replace"), made, found

    def list_command(self, kind: str, form: str) -> tuple[str, ...]:
        """The command that writes what FORM (name, or a jsonpath without braces in its answer) makes of all of a KIND.

        Goes ahead of another one in the same round trip.
        """
        return self._argv("get", kind, "-o", form, *_API)

    def list_text(self, kind: str, form: str) -> str:
        """What `list_command` writes."""
        return self._run(*self.list_command(kind, form)[len(self._command) :]).decode(errors="replace")

    def get_pods(self, namespace: str, selector: str) -> list[Object]:
        """The pods of NAMESPACE that SELECTOR matches."""
        return self._objects("get", "pods", "-n", namespace, "-l", selector, "-o", "json", *_API)

    def get_everywhere(self, kinds: Sequence[str], selector: str) -> list[Object]:
        """All objects of KINDS in the cluster that SELECTOR matches."""
        return self._objects("get", ",".join(kinds), "--all-namespaces", "-l", selector, "-o", "json", *_API)

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
        first: HostStep | None = None,
        after: Sequence[Sequence[str]] = (),
    ) -> list[Object]:
        """Apply OBJECTS in their order by server-side apply; returns them as the cluster has them now.

        FIRST and then the commands AFTER go before it in the same round trip; nothing is applied where one fails.
        Does it again where somebody else made or changed one of them at the same moment.
        """
        payload = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}).encode()
        manager = f"--field-manager={field_manager}"
        argv = ("apply", "--server-side", "--force-conflicts", manager, "-f", "-", "-o", "json", *_API)
        for _ in range(APPLY_TRIES - 1):
            try:
                return self._objects(*argv, stdin=payload, timeout=60.0, first=first, after=after)
            except KubernetesError as error:
                if error.code not in ("already_exists", "conflict"):
                    raise
        return self._objects(*argv, stdin=payload, timeout=60.0, first=first, after=after)

    def patch(self, reference: str, namespace: str, patch: Object) -> Object:
        """Merge PATCH into one object, of the cluster or of NAMESPACE; returns it as it is then.

        Raises KubernetesError `conflict` where PATCH names a resourceVersion and the object has another by now.
        """
        words = self.patch_command(reference, namespace, patch, "json")
        found = self._objects(*words[len(self._command) :])
        if not found:
            raise _bad_answer(self._host, "")
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
        after: Sequence[Sequence[str]] = (),
    ) -> None:
        """Delete the objects that exist; with WAIT, until they and all that they own are gone.

        The commands AFTER go before it in the same round trip.
        Raises TimeLimitError after WAIT seconds; the deletion then goes on in the cluster.
        """
        argv = ("delete", *references, "-n", namespace, "--ignore-not-found")
        if wait is None:
            self._run(*argv, "--wait=false", after=after)
            return
        limit = f"--timeout={max(1, int(wait))}s"
        try:
            self._run(*argv, "--cascade=foreground", "--wait", limit, timeout=wait + 5, after=after)
        except KubernetesError as error:
            if "timed out waiting" not in error.message:
                raise
            raise _still_there(references, namespace, wait) from error

    def delete_selected(self, kind: str, namespace: str, selector: str) -> None:
        """Delete all objects of KIND in NAMESPACE that SELECTOR matches, and do not wait for it."""
        self._run("delete", kind, "-n", namespace, "-l", selector, "--ignore-not-found", "--wait=false", *_API)

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
            raise _still_there((reference,), namespace, timeout) from error

    def watch_pods(self, namespace: str, selector: str, timeout: float) -> Iterator[Object | None]:
        """Each pod of NAMESPACE that SELECTOR matches, now and whenever it changes; None at least once a second.

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
                output = process.read(min(1.0, deadline - time.monotonic()))
                stderr += output.stderr
                text += decode(output.stdout)
                while text := text.lstrip():
                    try:
                        pod, end = decoder.raw_decode(text)
                    except (ValueError, RecursionError) as error:
                        if len(text) > LONGEST_OBJECT or text[0] != "{":
                            raise _bad_answer(self._host, text) from error
                        break
                    text = text[end:]
                    try:
                        yield checked(pod)
                    except (KeyError, TypeError) as error:
                        raise _bad_answer(self._host, str(pod)) from error
                if output.ended:
                    if process.exit_code:
                        raise _refusal(Completed(process.exit_code, b"", stderr), self._command)
                    return
                yield None

    def exec(self, namespace: str, pod: str, argv: Sequence[str]) -> Process:
        """Start ARGV in POD with stdin passed on."""
        return self._host.open(self._argv("exec", "-i", "-n", namespace, pod, "--", *argv))

    def exec_refusal(self, exit_code: int, stderr: bytes) -> KubernetesError:
        """What kubectl meant when an exec ended before anything ran in the pod."""
        return _refusal(Completed(exit_code, b"", stderr), self._command)

    def _argv(self, *words: str) -> tuple[str, ...]:
        return (*self._command, *words)

    def _run(
        self,
        *words: str,
        stdin: bytes = b"",
        timeout: float = REQUEST_TIMEOUT,
        first: HostStep | None = None,
        after: Sequence[Sequence[str]] = (),
    ) -> bytes:
        before = [*([first.argv] if first else []), *after]
        completed = run(self._host, self._argv(*words), after=before, stdin=stdin, timeout=timeout)
        if first is not None:
            completed = first.take(completed)
        if completed.exit_code != 0:
            raise _refusal(completed, self._command)
        return completed.stdout

    def _objects(
        self,
        *words: str,
        stdin: bytes = b"",
        timeout: float = REQUEST_TIMEOUT,
        first: HostStep | None = None,
        after: Sequence[Sequence[str]] = (),
    ) -> list[Object]:
        answer = self._run(*words, stdin=stdin, timeout=timeout, first=first, after=after)
        if after:
            answer = answer[max(0, answer.find(b"{")) :]  # without what those wrote
        return self._parsed(answer)

    def _parsed(self, answer: bytes) -> list[Object]:
        try:
            return [checked(obj) for document in _documents(answer.decode()) for obj in _items(document)]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _bad_answer(self._host, answer.decode(errors="replace")) from error


def _bad_answer(host: Host, text: str) -> KubernetesError:
    return KubernetesError(
        f"kubectl on {host.name} gave an answer that is not the JSON of objects: {text[:120]!r}",
        "Check LFGPODS_KUBECTL; it has to be kubectl 1.20 or newer.",
        code="bad_answer",
    )


def _still_there(references: Sequence[str], namespace: str, timeout: float) -> TimeLimitError:
    return TimeLimitError(
        f"{', '.join(references)} did not go away within {timeout:g} s",
        f"It goes on; see what holds it with: kubectl describe namespace {namespace}",
    )


def _documents(text: str) -> Iterator[Any]:
    """The JSON documents that follow one another in TEXT."""
    decoder, text = json.JSONDecoder(), text.strip()
    while text:
        document, end = decoder.raw_decode(text)
        yield document
        text = text[end:].lstrip()


def _items(document: Any) -> list[Any]:
    return list(document["items"]) if document["kind"] == "List" or "items" in document else [document]


_CLUSTER_SILENT = re.compile(
    r"was refused|Unable to connect to the server|i/o timeout|no route to host|TLS handshake|Client\.Timeout"
    r"|connection refused|context deadline exceeded|\(ServiceUnavailable\)|\(InternalError\)|etcdserver|\(Timeout\)"
    r"|apiserver not ready|connection reset|unexpected EOF|http2:"
)
_CONFIGURATION = re.compile(
    r"no configuration has been provided|invalid configuration|Error in configuration|error loading config|x509:"
    r"|context .* does not exist"
)
_SERVER_ERROR = re.compile(r"Error from server(?: \((\w+)\))?:\s*(.*)", re.DOTALL)


def _refusal(completed: Completed, command: Sequence[str]) -> KubernetesError:
    text = completed.stderr.decode(errors="replace").strip()
    line = _one_line(text) or f"it ended with exit code {completed.exit_code} and said nothing"
    program = command[0]
    if completed.exit_code in (126, 127) and "exec failed" not in text:
        return KubernetesError(
            f"{program} cannot be run on the host: {line}",
            "Install kubectl there, or set LFGPODS_KUBECTL to its path (k3s: LFGPODS_KUBECTL='k3s kubectl').",
            code="kubectl_missing",
        )
    if text.startswith("sudo:"):
        return KubernetesError(f"sudo on the host refuses: {line}", _SUDO_HINT, code="sudo")
    if _CONFIGURATION.search(text):
        return KubernetesError(
            f"kubectl on the host has no usable configuration: {line}",
            "Give the SSH account a kubeconfig, or name it: LFGPODS_KUBECTL='kubectl --kubeconfig /path'.",
            code="kubeconfig",
        )
    if "error dialing backend" in text:
        return KubernetesError(
            f"the node of the pod does not answer: {line}",
            "Check on the host that its kubelet runs: kubectl get nodes.",
            code="node_unreachable",
        )
    server_error = _SERVER_ERROR.search(text)
    if server_error and server_error[1] not in ("ServiceUnavailable", "InternalError", "Timeout"):
        return _server_refusal(server_error[1] or "", _one_line(server_error[2]))
    if _CLUSTER_SILENT.search(text):
        return KubernetesError(
            f"the cluster does not answer: {line}",
            "Check on the host that the API server runs: kubectl get nodes.",
            code="cluster_unreachable",
        )
    return KubernetesError(f"kubectl failed: {line}", "Look at the cluster with kubectl on the host.", code="kubectl")


_SUDO_HINT = "Allow the account passwordless sudo for it (NOPASSWD), or log in as root."
_SERVER_HINTS = {
    "NotFound": "It may have been deleted by someone else; lfgpods status shows what is there.",
    "Forbidden": "The kubeconfig on the host needs more rights, or a quota is used up.",
    "Unauthorized": "The credentials of the kubeconfig on the host are not valid any more.",
    "Invalid": "Correct what was asked for; the message names the field.",
    "Conflict": "Someone changed it at the same moment; try again.",
}


def _server_refusal(reason: str, message: str) -> KubernetesError:
    if "exceeded quota" in message:
        return KubernetesError(
            f"a quota of the cluster is used up: {message}", _SERVER_HINTS["Forbidden"], code="quota"
        )
    code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", reason).lower() or "refused"
    hint = _SERVER_HINTS.get(reason, "Look at the cluster with kubectl on the host.")
    return KubernetesError(f"Kubernetes refuses: {message}", hint, code=code)


def _one_line(text: str) -> str:
    """The first line that says something, without warnings; at most 400 characters."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    telling = [
        line for line in lines if not line.startswith(("Warning:", "Defaulted container", "Unable to use a TTY"))
    ]
    line = (telling or lines or [""])[0].removeprefix("error: ")
    return line if len(line) <= 400 else line[:399] + "…"


def by_kind(objects: Iterable[Object], kind: str) -> list[Object]:
    return [obj for obj in objects if obj["kind"] == kind]
