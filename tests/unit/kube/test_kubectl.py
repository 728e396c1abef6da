"""kubectl's arguments, answers and errors; the error texts are those of real kubectl 1.20 to 1.37."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from lfgpods.core.errors import HostError, KubernetesError, TimeLimitError
from lfgpods.hosts.base import Output
from lfgpods.kube.kubectl import Kubectl
from lfgpods.kube.objects import Pod
from tests.kube_objects import read_as


class ScriptedProcess:
    def __init__(self, exit_code: int | None, chunks: Sequence[bytes], stderr: bytes) -> None:
        self.exit_code = exit_code
        self._outputs = [*(Output(stdout=chunk) for chunk in chunks), Output(stderr=stderr)]
        self.written = b""

    def read(self, timeout: float) -> Output:
        return self._outputs.pop(0) if self._outputs else Output(ended=True)

    def write(self, data: bytes) -> None:
        self.written += data

    def close_stdin(self) -> None: ...

    def close(self) -> None: ...


class ScriptedHost:
    """A host that gives a prepared answer to every command and records the commands."""

    name = address = "scripted"
    capacity = None

    def __init__(
        self, stdout: bytes | Sequence[bytes] = b"", *, exit_code: int | None = 0, stderr: bytes = b""
    ) -> None:
        chunks = [stdout] if isinstance(stdout, bytes) else stdout
        self.process = ScriptedProcess(exit_code, chunks, stderr)
        self.argv: list[str] = []

    def open(self, argv: Sequence[str], **how: Any) -> ScriptedProcess:
        self.argv = list(argv)
        return self.process

    def when_full(self, make_room: Callable[[], object]) -> None: ...

    def close(self) -> None: ...


OBJECT = {"kind": "Pod", "metadata": {"name": "a"}}
POD = read_as(Pod, OBJECT)


def test_kubectl_may_answer_with_one_object_or_a_list_or_nothing() -> None:
    assert Kubectl(ScriptedHost(json.dumps(OBJECT).encode())).get(["pod/a"], "n") == [POD]
    listed = json.dumps({"kind": "List", "items": [OBJECT]}).encode()
    assert Kubectl(ScriptedHost(listed)).get(["pod/a"], "n") == [POD]
    assert Kubectl(ScriptedHost(b"")).get(["pod/a"], "n") == []


def test_an_object_of_another_kind_is_a_bad_answer() -> None:
    with pytest.raises(KubernetesError) as refused:
        Kubectl(ScriptedHost(json.dumps(OBJECT).encode())).get(["persistentvolume/a"], "n")
    assert refused.value.code == "bad_answer"


def test_apply_owns_its_fields_and_sends_one_list() -> None:
    host = ScriptedHost(json.dumps(OBJECT).encode())
    Kubectl(host, ("k3s", "kubectl")).apply([OBJECT])
    assert host.argv[:6] == ["k3s", "kubectl", "apply", "--server-side", "--force-conflicts", "--field-manager=lfgpods"]
    assert json.loads(host.process.written) == {"apiVersion": "v1", "kind": "List", "items": [OBJECT]}


def test_apply_is_tried_again_after_a_race_with_another_caller() -> None:
    taken = b'Error from server (AlreadyExists): services "s" already exists'
    host = ScriptedHost(json.dumps(OBJECT).encode())
    answers = [ScriptedProcess(1, [], taken), ScriptedProcess(1, [], taken), host.process]
    host.open = lambda argv, **how: answers.pop(0)  # type: ignore[method-assign]
    assert Kubectl(host).apply([OBJECT]) == [POD]
    assert answers == []


@pytest.mark.parametrize(
    "answer", [b"not json", b"[]", b"3", b"null", b'{"kind": "List", "items": [3]}', b'{"kind": "Pod"}', b"\xff\xfe", b'{"a": '],
)  # fmt: skip
def test_an_answer_that_is_no_object_is_a_clear_error(answer: bytes) -> None:
    with pytest.raises(KubernetesError) as refused:
        Kubectl(ScriptedHost(answer)).get(["pod/a"], "n")
    assert refused.value.code == "bad_answer"


@pytest.mark.parametrize(
    ("exit_code", "stderr", "code"),
    [
        (127, "sh: 1: exec: kubectl: not found", "kubectl_missing"),
        (126, "sh: 1: exec: /opt/kubectl: Permission denied", "kubectl_missing"),
        (
            1,
            "The connection to the server localhost:8080 was refused - did you specify the right host or port?",
            "cluster_unreachable",
        ),
        (1, "Unable to connect to the server: dial tcp 10.0.0.1:6443: i/o timeout", "cluster_unreachable"),
        (1, "Unable to connect to the server: x509: certificate signed by unknown authority", "kubeconfig"),
        (1, "error: no configuration has been provided, try setting KUBERNETES_MASTER", "kubeconfig"),
        (1, 'Error from server (NotFound): pods "a" not found', "not_found"),
        (1, 'Error from server (Forbidden): namespaces "a" is forbidden: User "x" cannot get', "forbidden"),
        (1, 'Error from server (Forbidden): pods "a" is forbidden: exceeded quota: q, requested: pods=1', "quota"),
        (1, "Error from server (Conflict): Operation cannot be fulfilled", "conflict"),
        (1, "Error from server (ServiceUnavailable): apiserver not ready", "cluster_unreachable"),
        (1, "Error from server: etcdserver: request timed out", "cluster_unreachable"),
        (1, "Error from server: something else", "refused"),
        (1, "error: You must be logged in to the server (Unauthorized)", "kubectl"),
        (1, "sudo: a password is required", "sudo"),
        (1, "", "kubectl"),
    ],
)
def test_an_error_of_kubectl_becomes_a_cause_and_a_remedy(exit_code: int, stderr: str, code: str) -> None:
    with pytest.raises(KubernetesError) as refused:
        Kubectl(ScriptedHost(exit_code=exit_code, stderr=stderr.encode())).get(["pod/a"], "n")
    assert refused.value.code == code
    assert refused.value.hint
    assert "\n" not in refused.value.message


def test_an_end_without_an_exit_code_is_a_lost_host() -> None:
    with pytest.raises(HostError) as lost:
        Kubectl(ScriptedHost(b"{}", exit_code=None)).get(["pod/a"], "n")
    assert lost.value.code == "host_lost"


def test_warnings_are_not_the_cause_of_an_error() -> None:
    said = b"Warning: resource is deprecated\nDefaulted container x\nerror: the real reason\nmore"
    with pytest.raises(KubernetesError, match="the real reason"):
        Kubectl(ScriptedHost(exit_code=1, stderr=said)).get(["pod/a"], "n")


def test_an_object_that_stays_after_its_deletion_is_a_time_limit_error() -> None:
    said = b"error: timed out waiting for the condition on namespaces/a"
    with pytest.raises(TimeLimitError):
        Kubectl(ScriptedHost(exit_code=1, stderr=said)).delete(["namespace/a"], "a", wait=1)
    with pytest.raises(TimeLimitError):
        Kubectl(ScriptedHost(exit_code=1, stderr=said)).wait_gone("namespace/a", "a", 1)
    gone = b'Error from server (NotFound): namespaces "a" not found'
    Kubectl(ScriptedHost(exit_code=1, stderr=gone)).wait_gone("namespace/a", "a", 1)


def test_the_types_of_objects_are_loaded_with_the_first_answer_and_not_before() -> None:
    code = (
        "import sys, lfgpods.api.manager; from lfgpods.hosts.local import LocalHost; from lfgpods.kube.kubectl import Kubectl\n"
        "host = LocalHost(); print('msgspec' in sys.modules)\n"
        "Kubectl(host, ('true',)).wait_gone('pod/a', 'n', 1); print('msgspec' in sys.modules)\n"
        "Kubectl(host, ('sh', '-c', 'echo \"$0\"', '{\"kind\": \"Pod\", \"metadata\": {\"name\": \"a\"}}')).get_pods('n', 'a=b')\n"
        "print('msgspec' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.split() == ["False", "False", "True"]


def test_a_watch_joins_objects_that_arrive_in_pieces() -> None:
    text = "".join(
        json.dumps({"kind": "Pod", "metadata": {"name": name}}, ensure_ascii=False) + "\n" for name in ("a", "ü€", "c")
    )
    stream = text.encode()
    for size in (1, 7, len(stream)):
        chunks = [stream[i : i + size] for i in range(0, len(stream), size)]
        found = [pod for pod in Kubectl(ScriptedHost(chunks)).watch_pods("n", "a=b", 60) if pod]
        assert [pod.metadata.name for pod in found] == ["a", "ü€", "c"]


def test_a_watch_that_fails_says_why() -> None:
    with pytest.raises(KubernetesError, match="refused"):
        list(
            Kubectl(ScriptedHost(exit_code=1, stderr=b"The connection to the server x was refused")).watch_pods(
                "n", "a", 9
            )
        )
