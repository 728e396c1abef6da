"""history: who changed what, from where, and how it ended."""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer

from lfgpods.cli.format import Format
from lfgpods.cli.options import ConversationId, Output, ProjectId


def history(
    project_id: ProjectId = None,
    conversation_id: ConversationId = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, metavar="N", help="How many changes to show.")] = 20,
    output: Output = Format.TABLE,
) -> None:
    """Show who changed what, from where, how it ended and how long it took; newest first.

    Shows the changes of one owner, or of all owners on this host. A change is `interrupted` if the process that made
    it died before the end. Reads only the database; the host need not be reachable.

    \b
      lfgpods history --project-id my-app
    """
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.output import show_changes
    from lfgpods.core.owners import resolve_owner

    of_all = project_id is None and conversation_id is None
    owner = None if of_all else resolve_owner(project_id, conversation_id)
    with PodManager() as manager:
        changes = manager.history(owner, limit)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    text = show_changes(changes, output, width=width)
    if text:
        typer.echo(text)
