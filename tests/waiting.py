"""Waiting for something to become true, never for time to pass."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def eventually(ask: Callable[[], T], *, within: float = 20.0) -> T:
    """What ASK answers as soon as that is true; the last answer is the failure's text."""
    deadline = time.monotonic() + within
    while True:
        answer = ask()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"still {answer!r} after {within:g} s"
        threading.Event().wait(0.05)
