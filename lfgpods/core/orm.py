"""peewee, without the database drivers that it imports on the off chance; `from lfgpods.core.orm import peewee`.

peewee imports psycopg, psycopg2 and the MySQL drivers wherever they are installed, which takes three times as long as
peewee itself, in every `lfgpods exec`. The copy that is made here has seen none of them; what the process and other
libraries import stays as it is.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

_DRIVERS = ("psycopg", "psycopg2", "psycopg2cffi", "pymysql", "MySQLdb")

if TYPE_CHECKING:
    import peewee as peewee


class _NoDrivers:
    """A finder that finds no driver for the thread that made it, and leaves everything else to the others."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        if name in _DRIVERS and threading.get_ident() == self._thread:
            raise ModuleNotFoundError(name, name=name)

    def invalidate_caches(self) -> None:
        """There are none."""


def _lean_peewee() -> ModuleType:
    if "peewee" in sys.modules:
        return sys.modules["peewee"]
    spec: ModuleSpec | None = importlib.util.find_spec("peewee")
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("No module named 'peewee'", name="peewee")
    module = importlib.util.module_from_spec(spec)
    finder = _NoDrivers()
    sys.meta_path.insert(0, finder)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.meta_path.remove(finder)
    return module


if not TYPE_CHECKING:
    peewee = _lean_peewee()
