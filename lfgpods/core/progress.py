"""How a long operation tells its caller what it is doing."""

from __future__ import annotations

from collections.abc import Callable

OnStep = Callable[[str], object]
"""Called when a step begins, with a few words about it."""


def silent(step: str) -> None:
    """An OnStep that reports nothing."""
