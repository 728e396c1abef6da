"""status and list."""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer

from lfgpods.cli.format import Format
from lfgpods.cli.options import ConversationId, Output, ProjectId, warn
from lfgpods.core.kinds import State

UNKNOWN_EXIT_CODE = 4


def status(project_id: ProjectId = None, conversation_id: ConversationId = None, output: Output = Format.TABLE) -> None:
    """Show a pod as the cluster has it now.

    Exits with 3 if there is no such pod, and with 4 if its status is `unknown`, because the host or the pod's node
    does not answer.

    \b
      lfgpods status --project-id my-app -o json
    """
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.output import show_pod
    from lfgpods.core.owners import resolve_owner

    owner = resolve_owner(project_id, conversation_id)
    with PodManager() as manager:
        pod = manager.status(owner)
    typer.echo(show_pod(pod, output))
    if pod.status is State.UNKNOWN:
        warn(f"showing the last known state: {pod.reason}")
        raise typer.Exit(UNKNOWN_EXIT_CODE)


def list_pods(
    project_id: ProjectId = None,
    conversation_id: ConversationId = None,
    status: Annotated[
        State | None, typer.Option("--status", metavar="|".join(State), help="Only pods with this status.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """List pods and kept volumes: all of them, or those of one owner or with one status.

    Exits with 4 if the status of a pod is `unknown`, because the host or the pod's node does not answer.

    \b
      lfgpods list --status failed -o name
    """
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.output import show_pods
    from lfgpods.core.owners import resolve_owner

    owner = None if project_id is None and conversation_id is None else resolve_owner(project_id, conversation_id)
    with PodManager() as manager:
        pods = manager.list(owner, status=status)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    text = show_pods(pods, output, width=width, chosen=owner is not None or status is not None)
    if text:
        typer.echo(text)
    unknown = [pod for pod in pods if pod.status is State.UNKNOWN]
    if unknown:
        warn(f"showing the last known state: {unknown[0].reason}")
        raise typer.Exit(UNKNOWN_EXIT_CODE)
