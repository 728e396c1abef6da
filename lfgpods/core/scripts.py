"""Shell scripts that lfgpods sends to a host or a pod. They lie beside the module that sends them."""

from __future__ import annotations

import functools
from pathlib import Path


@functools.cache
def load_script(module: str, name: str) -> str:
    """The script NAME beside MODULE (its `__file__`), without comments and empty lines, which are not worth sending."""
    lines = Path(module).with_name(name).read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
