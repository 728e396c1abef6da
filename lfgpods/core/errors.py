"""The errors that lfgpods raises: what happened, what to do about it, and the exit code.

Each error is also a built-in one, so callers may catch `TimeoutError` or `LookupError`. No message or hint holds a
key, a passphrase, a token or the value of a variable.
"""

from __future__ import annotations


class LfgpodsError(Exception):
    """The base of all errors. Callers can rely on `code` and `exit_code`; the words may change."""

    code = "failed"
    """For programs."""
    exit_code = 1
    """For shells."""
    is_unreachable = False
    """Whether the host or cluster did not answer, so that the error says nothing about a pod."""

    def __init__(self, message: str, hint: str = "", *, code: str | None = None) -> None:
        """MESSAGE is the cause and HINT the remedy, one line each."""
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class UsageError(LfgpodsError, ValueError):
    """An invalid id, image, quantity, port, or combination of arguments."""

    code = "usage"
    exit_code = 2


class SettingsError(LfgpodsError, ValueError):
    """A setting is missing or invalid."""

    code = "settings"
    exit_code = 2


class TemplateError(LfgpodsError, ValueError):
    """A manifest template cannot be rendered, or does not render the object it is named after."""

    code = "template"
    exit_code = 2


class PodNotFoundError(LfgpodsError, LookupError):
    """The owner has no pod and no volume."""

    code = "no_such_pod"
    exit_code = 3


class HostError(LfgpodsError, ConnectionError):
    """The Kubernetes host cannot be used: it does not answer, has another host key, or refuses the login."""

    code = "host"
    exit_code = 4


class HostUnreachableError(HostError):
    """The Kubernetes host does not answer, the connection was lost, or it has no room for another command."""

    code = "host_unreachable"
    is_unreachable = True


class KubernetesError(LfgpodsError, RuntimeError):
    """kubectl is missing, or the cluster refused or failed."""

    code = "kubernetes"
    exit_code = 5


class ClusterUnreachableError(KubernetesError):
    """The API server does not answer."""

    code = "cluster_unreachable"
    is_unreachable = True


class PodNotRunningError(KubernetesError):
    """The owner has a pod or a volume, but no running container."""

    code = "pod_not_running"


class OutcomeUnknownError(KubernetesError):
    """A command may have run wholly, partly or not at all: no proof of its end arrived.

    `stdout` and `stderr` hold its output so far, unless the caller received it through sinks.
    """

    code = "outcome_unknown"
    stdout: bytes = b""
    stderr: bytes = b""
    link_lost = False
    """True if the connection to the host was lost, False if only the stream from the pod ended."""


class TimeLimitError(LfgpodsError, TimeoutError):
    """A time limit was reached. `stdout` and `stderr` hold the output of a command so far."""

    code = "time_limit"
    exit_code = 6
    is_unreachable = True
    stdout: bytes = b""
    stderr: bytes = b""


class VolumeError(LfgpodsError, OSError):
    """The volume folder on the host cannot be created, read or removed."""

    code = "volume"


class StoreError(LfgpodsError, OSError):
    """The database cannot be opened, read or written."""

    code = "store"
