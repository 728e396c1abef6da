"""history: who changed what, from where, and how it ended."""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer

from lfgpods.cli.options import ConversationId, Output, OutputFormat, ProjectId


def history(
    project_id: ProjectId = None,
    conversation_id: ConversationId = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="How many, newest first.")] = 20,
    output: Output = OutputFormat.TABLE,
) -> None:
    """Show who changed what, from where, how it ended and how long it took.

    Of one owner, or of all of this host. A change that was begun and has no outcome is running, or was interrupted
    when whoever began it is gone. Asks the record only; the host need not be reachable.

    \b
      lfgpods history --project-id my-app
    """
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.output import Format, show_events
    from lfgpods.core.owners import resolve_owner

    of_all = project_id is None and conversation_id is None
    owner = None if of_all else resolve_owner(project_id, conversation_id)
    with PodManager() as manager:
        events = manager.history(owner, limit)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    text = show_events(events, Format(output), width=width)
    if text:
        typer.echo(text)
