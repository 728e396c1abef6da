"""The command line: options -> manager -> output. Knows exit codes and streams, and decides nothing."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    from lfgpods.cli.app import main as run

    return run(argv)


def _open_what_is_closed() -> None:
    """Standard streams that were closed lead nowhere, and no file or connection of ours takes their place."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(descriptor, "r" if descriptor == 0 else "w", closefd=False))  # noqa: SIM115


def program() -> NoReturn:
    """What the shell starts as `lfgpods`: a keeper runs the command line if there is one, else this process does.

    A process that lives for one command has no garbage worth looking for, and leaves to the kernel what is to be
    taken apart in the end: both would cost more than all that it does itself.
    """
    gc.disable()
    _open_what_is_closed()
    from lfgpods.cli.keeper.client import hand_over

    code = hand_over(sys.argv[1:])
    if code is None:
        code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)
