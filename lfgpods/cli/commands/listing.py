"""status and list."""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer

from lfgpods.cli.options import ConversationId, Output, OutputFormat, PodStatus, ProjectId, warn

UNKNOWN_EXIT_CODE = 4


def status(
    project_id: ProjectId = None, conversation_id: ConversationId = None, output: Output = OutputFormat.TABLE
) -> None:
    """Show what the cluster says about a pod now.

    Ends with 3 when there is no such pod, and with 4 when the host cannot be reached and only the record is shown.

    \b
      lfgpods status --project-id my-app -o json
    """
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.output import Format, show_pod
    from lfgpods.core.owners import resolve_owner
    from lfgpods.core.pod import State

    owner = resolve_owner(project_id, conversation_id)
    with PodManager() as manager:
        pod = manager.status(owner)
    typer.echo(show_pod(pod, Format(output)))
    if pod.status is State.UNKNOWN:
        warn(f"this is only what was last known: {pod.reason}")
        raise typer.Exit(UNKNOWN_EXIT_CODE)


def list_pods(
    project_id: ProjectId = None,
    conversation_id: ConversationId = None,
    status: Annotated[
        PodStatus | None, typer.Option("--status", metavar="|".join(PodStatus), help="Only pods with this status.")
    ] = None,
    output: Output = OutputFormat.TABLE,
) -> None:
    """List every pod and every volume that was kept, or only those asked for.

    Ends with 4 when the host cannot be reached and only the record is shown.

    \b
      lfgpods list --status failed -o name
    """
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.output import Format, show_pods
    from lfgpods.core.owners import resolve_owner
    from lfgpods.core.pod import State

    owner = None if project_id is None and conversation_id is None else resolve_owner(project_id, conversation_id)
    with PodManager() as manager:
        pods = manager.list(owner, status=State(status) if status else None)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    text = show_pods(pods, Format(output), width=width, chosen=owner is not None or status is not None)
    if text:
        typer.echo(text)
    if any(pod.status is State.UNKNOWN for pod in pods):
        warn(f"this is only what was last known: {pods[0].reason}")
        raise typer.Exit(UNKNOWN_EXIT_CODE)
