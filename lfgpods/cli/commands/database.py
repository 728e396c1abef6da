"""db: lfgpods' own database."""

from __future__ import annotations

from typing import Annotated

import typer

from lfgpods.cli.format import Format
from lfgpods.cli.options import Output, logged

db = typer.Typer(name="db", help="Copy lfgpods' own database.")


def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="Path of an SQLite file, or a PostgreSQL URL.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="Likewise; it must be empty.")],
    output: Output = Format.TABLE,
) -> None:
    """Copy the pods and changes of all hosts from one database to another, which must be empty.

    Copies everything and compares it row by row, or copies nothing. Other commands wait meanwhile, or fail. Set
    LFGPODS_DATABASE to the new database afterwards. A password in a URL shows in ps; use PGPASSWORD or ~/.pgpass.

    \b
      lfgpods db copy ~/.local/share/lfgpods/lfgpods.db postgresql://lfgpods@db.example.com/lfgpods
    """
    from lfgpods.cli.output import show_copied
    from lfgpods.store.copying import copy as copy_all

    copied = copy_all(_place(source), _place(target))
    typer.echo(show_copied(copied, output))


def _place(text: str) -> str:
    from lfgpods.core.errors import UsageError
    from lfgpods.core.settings import database_place

    try:
        return database_place(text)
    except ValueError as error:
        raise UsageError(f"a database must be {error}", "See lfgpods db copy --help.") from None


db.command("copy")(logged(copy))
