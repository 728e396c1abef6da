"""A host over SSH. The only package that imports fabric and paramiko, and that knows their errors."""

from __future__ import annotations

import glob
import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class _LoadedWhenUsed(ModuleType):
    """Stands for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)


class _Versions(_LoadedWhenUsed):
    """Stands for importlib.metadata, and tells a version by the name of the folder that it would read."""

    def version(self, package: str) -> str:
        for folder in sys.path:
            for found in glob.iglob(f"{glob.escape(folder)}/{package}-*.dist-info"):
                return Path(found).stem.partition("-")[2]
        version: str = self.__getattr__("version")(package)
        return version


def _import_paramiko() -> None:
    """Import paramiko without what would take as long to load as all the rest of it.

    It needs Invoke for `Match exec` in ssh_config alone, and importlib.metadata for its own version.
    """
    stand_ins = [_LoadedWhenUsed("invoke"), _Versions("importlib.metadata")]
    missing = {module.__name__: module for module in stand_ins if module.__name__ not in sys.modules}
    sys.modules.update(missing)
    try:
        importlib.import_module("paramiko")
    finally:
        for name, module in missing.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


_import_paramiko()

from lfgpods.hosts.ssh.host import SshHost  # noqa: E402

__all__ = ["SshHost"]
