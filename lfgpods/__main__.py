"""`python -m lfgpods` is the command line."""

from __future__ import annotations

import sys

from lfgpods.cli import program

sys.exit(program())
