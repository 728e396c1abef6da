"""The errors of a command in a pod: what it means if it did not end by itself with an exit code. Pure."""

from __future__ import annotations

from lfgpods.core.errors import KubernetesError, OutcomeUnknownError, PodNotRunningError, TimeLimitError, UsageError
from lfgpods.exec.command import Command

_CREATE_HINT = "Bring it back with lfgpods create."
_STREAMS_CUT = b"error reading from error stream"
"""What kubectl says when streams into the pod broke off."""
_NOT_RUNNING = ("container not found", "not running", "is not created", "completed pod", "no running task")


def exit_code_of(trailer: str, command: Command) -> int:
    """The exit code in a trailer. Raises UsageError if the pod does not have the command's folder."""
    if trailer == "workdir":
        raise UsageError(f"the pod has no folder {command.workdir!r}, or it cannot be entered", "Correct --workdir.")
    return int(trailer)


def timed_out(timeout: float | None, *, ended: bool) -> TimeLimitError:
    if ended:
        return TimeLimitError(
            f"the command was ended after {timeout:g} s",
            "Give it more time with --timeout, or run it in the background.",
        )
    return TimeLimitError(
        f"the command was told to end after {timeout:g} s, and has not confirmed it",
        "It may still run; look with: lfgpods exec ... -c 'ps'",
    )


def cancelled() -> OutcomeUnknownError:
    return OutcomeUnknownError(
        "outcome unknown: the command was cancelled before it ended by itself",
        "It may have run in part; check what it did before you run it again.",
        code="cancelled",
    )


def nothing_ran(refusal: KubernetesError, said: str, pod: str) -> KubernetesError:
    """The error if kubectl refused, as REFUSAL, before anything ran in POD; SAID is what it wrote to stderr."""
    if refusal.code == "not_found":
        return PodNotRunningError(f"the pod {pod} is not there any more", _CREATE_HINT)
    if "executable file not found" in said or '"sh"' in said:
        return KubernetesError("the pod's image has no shell (sh)", "Use an image with a shell.", code="no_shell")
    if any(words in said for words in _NOT_RUNNING):
        return PodNotRunningError(f"the container of pod {pod} is not running", _CREATE_HINT)
    return refusal


def is_refusal(exit_code: int | None, stderr: bytes) -> bool:
    """Whether kubectl ended before it had opened streams into the pod."""
    return bool(exit_code) and _STREAMS_CUT not in stderr


def unknown(exit_code: int | None, pod: str) -> OutcomeUnknownError:
    """The error if the stream from POD ended without proof of the command's end."""
    lost = exit_code is None
    what = "the connection to the host was lost" if lost else f"the stream from pod {pod} ended early"
    error = OutcomeUnknownError(
        f"outcome unknown: {what} before the command's end was confirmed",
        "It may have run wholly or in part; check what it did before you run it again.",
    )
    error.link_lost = lost
    return error
