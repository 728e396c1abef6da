"""The three functions that LFG calls. They never raise an LfgpodsError: they log it and return False.

All calls of a process share one connection and its open shells, until the settings change.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from lfgpods.api.shared import SharedManager
from lfgpods.core.errors import LfgpodsError, OutcomeUnknownError, TimeLimitError
from lfgpods.core.owners import resolve_owner
from lfgpods.core.pod import Pod
from lfgpods.core.spec import request_from_limits
from lfgpods.exec.command import Command

log = logging.getLogger("lfgpods")

shared = SharedManager()
atexit.register(shared.close)


def manage_kubernetes_pod(
    project_id: str | None = None,
    conversation_id: str | None = None,
    image: str | None = None,
    resource_limits: Mapping[str, Any] | None = None,
) -> tuple[bool, Pod | None]:
    """Create the owner's pod, or start it again, and wait until it runs.

    RESOURCE_LIMITS may have the keys memory, cpu, memory_requests and cpu_requests, as Kubernetes quantities.
    Returns (True, pod), or logs the failure and returns (False, None). A running pod is returned as it is; differences
    from the request are logged.
    """
    try:
        owner = resolve_owner(_text(project_id), _text(conversation_id))
        request = request_from_limits(image, resource_limits)
        with shared.lent() as manager:
            pod = manager.ensure(owner, request, conversation_id=_text(conversation_id))
    except LfgpodsError as error:
        _log("the pod cannot be created", error)
        return False, None
    for notice in pod.notices:
        log.warning("the pod of %s: %s", owner, notice)
    for difference in pod.differences:
        log.warning("the pod of %s was not changed: %s", owner, difference)
    return True, pod


def execute_command_in_pod(
    project_id: str | None = None, conversation_id: str | None = None, command: str | Sequence[str] | None = None
) -> tuple[bool, str, str]:
    """Run COMMAND in the owner's pod: a line for the pod's shell, or a list of a program and its arguments.

    Returns (whether the exit code was 0, stdout, stderr). Invalid UTF-8 in the output is replaced. A failure of lfgpods
    itself is logged, and stderr ends with its message.
    """
    try:
        owner = resolve_owner(_text(project_id), _text(conversation_id))
        given = Command(command) if command is None or isinstance(command, str) else Command(argv=tuple(command))
        with shared.lent() as manager:
            result = manager.exec(owner, given)
    except (OutcomeUnknownError, TimeLimitError) as error:
        _log("the command failed", error)
        return False, _decoded(error.stdout), _decoded(error.stderr) + error.message
    except LfgpodsError as error:
        _log("the command failed", error)
        return False, "", error.message
    return bool(result), _decoded(result.stdout), _decoded(result.stderr)


def delete_kubernetes_pod(
    project_id: str | None = None, conversation_id: str | None = None, preserve_data: bool = True
) -> bool:
    """Delete the owner's pod; without PRESERVE_DATA, also its volume, namespace and record.

    Returns True, or logs the failure and returns False.
    """
    try:
        owner = resolve_owner(_text(project_id), _text(conversation_id))
        with shared.lent() as manager:
            manager.delete(owner, purge=not preserve_data)
    except LfgpodsError as error:
        _log("the pod cannot be deleted", error)
        return False
    return True


def _text(id: object) -> str | None:
    """Convert an id to text: Django passes integers and UUIDs. An empty id counts as missing."""
    return str(id) if id not in (None, "") else None


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")


def _log(what: str, error: LfgpodsError) -> None:
    log.error("%s: %s (%s)", what, error.message, error.hint)
