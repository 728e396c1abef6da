"""How a long operation tells its caller what it is doing."""

from __future__ import annotations

from collections.abc import Callable

OnStep = Callable[[str], object]
"""Called with each step, in a few words, as it begins."""


def silent(step: str) -> None:
    """Nobody is watching."""
