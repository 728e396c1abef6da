"""sync and gc: update the database from the cluster, and remove what has no owner."""

from __future__ import annotations

import shutil
import sys
from typing import Annotated

import typer

from lfgpods.cli.format import Format
from lfgpods.cli.options import Output, progress, warn


def _age(text: str | None) -> float | None:
    """Return an age such as 12h, 30d or 2w in seconds."""
    from lfgpods.core.text import duration

    try:
        return None if text is None else duration(text)
    except ValueError:
        raise typer.BadParameter("must be an age such as 12h, 30d or 2w") from None


def sync(output: Output = Format.TABLE) -> None:
    """Update lfgpods' own database from the cluster and the volume folders; rebuild it if it is empty.

    Changes nothing else.
    """
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.output import show_synced

    with PodManager() as manager:
        synced = manager.sync()
    typer.echo(show_synced(synced, output))
    for problem in synced.problems:
        warn(problem)


def gc(
    apply: Annotated[
        bool, typer.Option("--apply", help="Remove what is proven to be lfgpods' own. Otherwise nothing is changed.")
    ] = False,
    purge_older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE",
            help="Include kept volumes of deleted pods that nothing has used for this long: 12h, 30d, 2w.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove volumes without asking.")] = False,
    output: Output = Format.TABLE,
) -> None:
    """List objects, volume folders and records that have no owner, with age and size.

    \b
      lfgpods gc
      lfgpods gc --purge-older-than 30d --apply
    """
    from lfgpods.api.manager import PodManager
    from lfgpods.cli.output import show_orphans
    from lfgpods.core.errors import KubernetesError, LfgpodsError

    older_than = _age(purge_older_than)
    if apply and older_than is not None and not yes and sys.stdin.isatty():
        question = f"Permanently remove the files of every deleted pod that nothing has used for {purge_older_than}?"
        if not typer.confirm(question, err=True):
            raise LfgpodsError("nothing was removed", "Leave out --apply to see what it removes.", code="declined")
    with PodManager() as manager, progress() as on_step:
        found = manager.gc(apply=apply, purge_older_than=older_than, on_step=on_step)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    text = show_orphans(found, output, width=width)
    if text:
        typer.echo(text)
    removable = sum(orphan.removable for orphan in found)
    if removable and not apply:
        warn(f"nothing was removed; use --apply to remove {removable} of {len(found)}")
    failed = [orphan for orphan in found if orphan.error]
    if failed:
        raise KubernetesError(
            f"{len(failed)} of {removable} could not be removed: {failed[0].error}", "Try again.", code="gc_incomplete"
        )
