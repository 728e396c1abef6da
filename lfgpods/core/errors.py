"""Every error that lfgpods raises on purpose: what happened, what to do about it, and how the process ends.

An error is also the built-in that it resembles, so callers may catch `TimeoutError` or `LookupError`.
No message, hint or detail ever holds a key, a passphrase, a token or the value of a variable.
"""

from __future__ import annotations


class LfgpodsError(Exception):
    """One line of cause, one line of remedy, a stable code for programs and an exit code for shells."""

    code = "failed"
    exit_code = 1

    def __init__(self, message: str, hint: str = "", *, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if code is not None:
            self.code = code


class UsageError(LfgpodsError, ValueError):
    """What was asked for cannot be: an invalid id, image, quantity, port or combination."""

    code = "usage"
    exit_code = 2


class SettingsError(LfgpodsError, ValueError):
    """A setting is missing or is not what it should be."""

    code = "settings"
    exit_code = 2


class TemplateError(LfgpodsError, ValueError):
    """A manifest template cannot be rendered, or renders something other than the object it stands for."""

    code = "template"
    exit_code = 2


class PodNotFoundError(LfgpodsError, LookupError):
    """The owner has no pod and no volume."""

    code = "no_such_pod"
    exit_code = 3


class HostError(LfgpodsError, ConnectionError):
    """The Kubernetes host cannot be reached, is not the one it should be, or does not let us in."""

    code = "host"
    exit_code = 4


class KubernetesError(LfgpodsError, RuntimeError):
    """kubectl is missing, the cluster does not answer, or it refused or failed what was asked."""

    code = "kubernetes"
    exit_code = 5


class PodNotRunningError(KubernetesError):
    """There is a pod or a volume, but nothing in which a command could run."""

    code = "pod_not_running"


class OutcomeUnknownError(KubernetesError):
    """A command may have run, wholly, partly or not at all: no proof of its end arrived.

    `stdout` and `stderr` hold what came before, where the caller did not take it as it came.
    """

    code = "outcome_unknown"
    stdout: bytes = b""
    stderr: bytes = b""
    link_lost = False
    """Whether it was the connection to the host that was lost, rather than the stream from the pod."""


class TimeLimitError(LfgpodsError, TimeoutError):
    """Something took longer than it was allowed to; `stdout` and `stderr` hold what a command had written."""

    code = "time_limit"
    exit_code = 6
    stdout: bytes = b""
    stderr: bytes = b""


class VolumeError(LfgpodsError, OSError):
    """The volume folder cannot be made, opened or removed on the host."""

    code = "volume"


class StoreError(LfgpodsError, OSError):
    """The database cannot be opened, read or written."""

    code = "store"


_SILENCE = ("host_unreachable", "host_lost", "busy", "cluster_unreachable", "time_limit")


def is_unreachable(error: LfgpodsError) -> bool:
    """Whether the error says nothing about a pod, only that nobody answers for now."""
    return error.code in _SILENCE
