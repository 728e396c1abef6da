"""Turns kubectl's errors into KubernetesErrors with a cause, a remedy and a code. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lfgpods.core.errors import ClusterUnreachableError, KubernetesError, TimeLimitError
from lfgpods.hosts.base import Completed, Host

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
_REFUSED_EXEC = re.compile(r"unable to upgrade connection:\s*(.*)", re.DOTALL)
"""The server's refusal of an exec, as kubectl 1.37 shows it: without the reason that 1.34 showed."""
_REASONS = {
    "NotFound": re.compile(r'\S+ "[^"]*" not found'),
    "Forbidden": re.compile(r'\S+ "[^"]*" is forbidden: '),
    "BadRequest": re.compile(r"pod \S+ does not have a host assigned"),
}
"""How messages without a reason begin, by the reason they had."""


def kubectl_error(completed: Completed, command: Sequence[str]) -> KubernetesError:
    """The error of a kubectl command that failed. COMMAND is how kubectl is called, such as ("k3s", "kubectl")."""
    text = completed.stderr.decode(errors="replace").strip()
    line = _one_line(text) or f"exit code {completed.exit_code} and no message"
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
    if refused_exec := _refused_exec(text):
        return refused_exec
    silent = _CLUSTER_SILENT.search(text)
    reasons = ("ServiceUnavailable", "InternalError", "Timeout", None if silent else "")
    if server_error and server_error[1] not in reasons:
        return _server_refusal(server_error[1] or "", _one_line(server_error[2]))
    if silent:
        return ClusterUnreachableError(
            f"the cluster does not answer: {line}", "Check on the host that the API server runs: kubectl get nodes."
        )
    return KubernetesError(f"kubectl failed: {line}", "Check the cluster with kubectl on the host.", code="kubectl")


_SUDO_HINT = "Allow the account passwordless sudo for it (NOPASSWD), or log in as root."
_SERVER_HINTS = {
    "NotFound": "Someone may have deleted it. Check with lfgpods status.",
    "Forbidden": "The kubeconfig on the host needs more rights, or a quota is exhausted.",
    "Unauthorized": "The credentials in the kubeconfig on the host are no longer valid.",
    "Invalid": "Correct the field that the message names.",
    "Conflict": "Someone changed it at the same moment; try again.",
}


def _refused_exec(text: str) -> KubernetesError | None:
    """The error for an exec that the server refused, if its message tells why."""
    found = _REFUSED_EXEC.search(text)
    message = found[1] if found else ""
    reason = next((reason for reason, start in _REASONS.items() if start.match(message)), None)
    return _server_refusal(reason, _one_line(message)) if reason else None


def _server_refusal(reason: str, message: str) -> KubernetesError:
    if "exceeded quota" in message:
        return KubernetesError(
            f"a quota of the cluster is used up: {message}", _SERVER_HINTS["Forbidden"], code="quota"
        )
    code = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", reason).lower() or "refused"
    hint = _SERVER_HINTS.get(reason, "Check the cluster with kubectl on the host.")
    return KubernetesError(f"Kubernetes refuses: {message}", hint, code=code)


def _one_line(text: str) -> str:
    """The first line that is not empty and no warning, cut to 400 characters."""
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if not line.startswith(("Warning:", "Defaulted container", "Unable to use a TTY"))]
    line = (errors or lines or [""])[0].removeprefix("error: ")
    return line if len(line) <= 400 else line[:399] + "…"


def bad_answer(host: Host, text: str) -> KubernetesError:
    """The error for output that kubectl does not print."""
    return KubernetesError(
        f"kubectl on {host.name} did not print the JSON of Kubernetes objects: {text[:120]!r}",
        "Check LFGPODS_KUBECTL. It must be kubectl 1.20 or newer.",
        code="bad_answer",
    )


def still_there(references: Sequence[str], namespace: str, timeout: float) -> TimeLimitError:
    """The error for deleted objects that still exist after TIMEOUT seconds."""
    return TimeLimitError(
        f"{', '.join(references)} still exists after {timeout:g} s",
        f"The deletion continues. See what blocks it: kubectl describe namespace {namespace}",
    )
