"""db: the database in which everything is remembered."""

from __future__ import annotations

from typing import Annotated

import typer

from lfgpods.cli.options import Output, OutputFormat, logged

db = typer.Typer(name="db", help="Move what is remembered to another database.")


def copy(
    source: Annotated[str, typer.Argument(metavar="FROM", help="Path of an SQLite file, or a PostgreSQL URL.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The same; it has to be empty.")],
    output: Output = OutputFormat.TABLE,
) -> None:
    """Copy the pods and events of every host from one database to another, empty one.

    All of it is copied, and compared row by row, or nothing is. Other commands wait, or fail, until it is done. Set
    LFGPODS_DATABASE to the new one afterwards. A password in a URL shows in ps; PGPASSWORD and ~/.pgpass do not.

    \b
      lfgpods db copy ~/.local/share/lfgpods/lfgpods.db postgresql://lfgpods@db.example.com/lfgpods
    """
    from lfgpods.cli.output import Format, show_copied
    from lfgpods.store.copying import copy as copy_all

    copied = copy_all(_place(source), _place(target))
    typer.echo(show_copied(copied, Format(output)))


def _place(text: str) -> str:
    from lfgpods.core.errors import UsageError
    from lfgpods.core.settings import database_place

    try:
        return database_place(text)
    except ValueError as error:
        raise UsageError(f"a database has to be {error}", "See lfgpods db copy --help.") from None


db.command("copy")(logged(copy))
