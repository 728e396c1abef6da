"""`python -m lfgpods` is the command line."""

from __future__ import annotations

from lfgpods.cli.startup import program

program()
