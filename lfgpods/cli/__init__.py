"""The command line: what people type. Options go in, a call of `lfgpods.api` is made, text comes out.

`startup` is the program, `app` has all commands, `commands/` has one file for each family of verbs, and `keeper/` is
the process that stays for the next exec. Exit codes and streams are known here; no decision about pods is made here.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line in this process and return its exit code."""
    from lfgpods.cli.app import main as run

    return run(argv)
