"""Loads the shell scripts that lfgpods sends to a host or a pod."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def load_script(module: str, name: str) -> str:
    """The script NAME in the folder of MODULE (a `__file__`), without comments and empty lines, to send fewer bytes."""
    lines = Path(module).with_name(name).read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
