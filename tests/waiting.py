"""Wait for a condition, never for a fixed time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(ask: Callable[[], T], *, within: float = 20.0) -> T:
    """Call ASK until its answer is true, and return it. Fails with the last answer after WITHIN seconds."""
    deadline = time.monotonic() + within
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still {answer!r} after {within:g} s"
        threading.Event().wait(0.05)
