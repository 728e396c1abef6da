"""The program that the shell starts as `lfgpods`. What it does to its process would be wrong in anybody else's."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


def program() -> NoReturn:
    """Run the command line of this process, in a keeper if there is one, and exit.

    A process that lives for one command has no garbage worth collecting, and leaves its tidying up to the kernel:
    either would take longer than the rest of its work.
    """
    gc.disable()
    _open_closed_streams()
    from lfgpods.cli.keeper.client import hand_over

    code = hand_over(sys.argv[1:])
    if code is None:
        from lfgpods.cli.app import main

        code = main()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


def _open_closed_streams() -> None:
    """Connect closed standard streams to /dev/null, so that no file or connection gets one of their numbers."""
    for descriptor, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(descriptor, "r" if descriptor == 0 else "w", closefd=False))  # noqa: SIM115
