"""`python -m tests.faults.killed N ARGUMENT...`: runs lfgpods' command line and kills the process at its Nth point.

A point is a source line of the package's working half (what talks to the host and to the database, not what only
computes) that is reached for the first time since the last remote command began. With N = 0 it runs to its end and
says how many points there were.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import lfgpods
from lfgpods.cli import main

_PACKAGE = Path(lfgpods.__file__).parent
_PURE = (
    "cli/", "hosts/embedded/", "testing.py", "api/lfg.py", "kube/labels.py", "kube/diagnosis.py", "pods/manifests.py",
    "pods/objects.py", "pods/status.py", "core/errors.py", "core/objects.py", "core/owners.py", "core/pod.py",
    "core/progress.py", "core/settings.py", "core/spec.py",
)  # fmt: skip


@cache
def _counts(path: str) -> str | None:
    """The module that PATH is, where its lines count."""
    if not path.startswith(f"{_PACKAGE}/"):
        return None
    module = path.removeprefix(f"{_PACKAGE}/")
    return None if module.startswith(_PURE) else module


class Points:
    """A trace function that counts points and ends the process at one of them, without a chance to tidy up."""

    def __init__(self, end_at: int) -> None:
        self._end_at = end_at
        self._reached: set[tuple[int, str, int]] = set()
        self._commands = 0

    @property
    def count(self) -> int:
        return len(self._reached)

    def on_call(self, frame: FrameType, event: str, argument: object) -> Any:
        code = frame.f_code
        if code.co_name == "open" and "/lfgpods/hosts/" in code.co_filename:
            self._commands += 1
        if code.co_name == "<module>" or _counts(code.co_filename) is None:
            return None
        return self.on_line

    def on_line(self, frame: FrameType, event: str, argument: object) -> Any:
        if event == "line":
            module = _counts(frame.f_code.co_filename) or ""
            self._reached.add((self._commands, module, frame.f_lineno))
            if self.count == self._end_at:
                os.write(2, f"killed at {module}:{frame.f_lineno} after {self._commands} commands\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)
        return self.on_line


if __name__ == "__main__":
    points = Points(int(sys.argv[1]))
    sys.settrace(points.on_call)
    code = main(sys.argv[2:])
    sys.settrace(None)
    print(f"points {points.count}", file=sys.stderr)
    sys.exit(code)
