"""A host over SSH. The only package that imports fabric and paramiko, and that knows their errors."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any


class _InvokeWhenUsed(ModuleType):
    """Stands for Invoke in paramiko, which needs it for `Match exec` in ssh_config alone, until that is met."""

    def run(self, *words: Any, **options: Any) -> Any:
        return importlib.import_module("invoke").run(*words, **options)


def _import_paramiko() -> None:
    """Import paramiko without Invoke, which would take as long to load as all the rest of it."""
    if "invoke" in sys.modules:
        return
    sys.modules["invoke"] = _InvokeWhenUsed("invoke")
    try:
        importlib.import_module("paramiko")
    finally:
        del sys.modules["invoke"]


_import_paramiko()

from lfgpods.hosts.ssh.host import SshHost  # noqa: E402

__all__ = ["SshHost"]
