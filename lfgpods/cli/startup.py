"""The program that the shell starts as `lfgpods`. What it does to its process would be wrong in anybody else's."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.machinery import PathFinder, SourceFileLoader
from types import ModuleType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from importlib.machinery import ModuleSpec
    from typing import Any, NoReturn


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
        sys.meta_path.insert(0, ParamikoFinder())
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


class ParamikoFinder:
    """Finds paramiko, and has it load without two modules that take as long to load as the rest of it.

    paramiko needs Invoke only for `Match exec` in ssh_config, and importlib.metadata only for its own version. Both
    are replaced while paramiko loads, which is why no process but the program's own may have this in sys.meta_path:
    other threads would see the replacements.
    """

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != "paramiko":
            return None
        spec = PathFinder.find_spec(name)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _LoaderWithReplacements(spec.loader.name, spec.loader.path)
        return spec


class _LoaderWithReplacements(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        with _replaced(_LoadedWhenUsed("invoke"), _Versions("importlib.metadata")):
            super().exec_module(module)


@contextmanager
def _replaced(*replacements: ModuleType) -> Iterator[None]:
    """Let REPLACEMENTS stand for the modules of their names that are not loaded yet."""
    missing = {module.__name__: module for module in replacements if module.__name__ not in sys.modules}
    sys.modules.update(missing)
    try:
        yield
    finally:
        for name, module in missing.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


class _LoadedWhenUsed(ModuleType):
    """Stands for a module until something of it is used."""

    def __getattr__(self, name: str) -> Any:
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(import_module(self.__name__), name)


class _Versions(_LoadedWhenUsed):
    """Stands for importlib.metadata, and takes a version from the name of the folder that it would read."""

    def version(self, package: str) -> str:
        import glob
        from pathlib import Path

        for folder in sys.path:
            for found in glob.iglob(f"{glob.escape(folder)}/{package}-*.dist-info"):
                return Path(found).stem.partition("-")[2]
        version: str = self.__getattr__("version")(package)
        return version
