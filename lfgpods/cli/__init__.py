"""The command line: options -> manager -> output. Knows exit codes and streams, and decides nothing."""

from __future__ import annotations

from lfgpods.cli.app import main

__all__ = ["main"]
