"""What the program does to its own process, and never to the process of somebody who imports lfgpods."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest

from lfgpods.cli import startup

AS_THE_PROGRAM = "import sys; from lfgpods.cli.startup import ParamikoFinder; sys.meta_path.insert(0, ParamikoFinder())"
WATCH = """
import sys
class Watch:
    def find_spec(self, name, *_):
        seen.update(name for name, module in list(sys.modules.items()) if type(module).__module__.startswith("lfgpods"))
seen = set()
sys.meta_path.insert(0, Watch())
import lfgpods, lfgpods.cli, lfgpods.hosts.ssh, lfgpods.testing
lfgpods.PodManager
print(*sorted(seen))
"""


def printed_by(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_a_program_that_imports_lfgpods_never_sees_a_replaced_module() -> None:
    assert printed_by(WATCH) == "\n"
    assert printed_by(f"{AS_THE_PROGRAM}\n{WATCH}") == "importlib.metadata invoke\n"


def test_a_program_that_imports_lfgpods_keeps_its_import_system_and_garbage_collection() -> None:
    code = "import gc, sys\nbefore = [*sys.meta_path]\nimport lfgpods, lfgpods.cli.app, lfgpods.testing; lfgpods.PodManager"
    assert printed_by(f"{code}\nprint(sys.meta_path == before, gc.isenabled())") == "True True\n"


def test_the_program_loads_no_module_that_a_plain_connection_does_not_need() -> None:
    spared = {"fabric", "invoke", "importlib.metadata"}
    code = f"{AS_THE_PROGRAM}; import lfgpods.hosts.ssh"
    assert printed_by(f"{code}; print({spared} & set(sys.modules))") == "set()\n"
    assert printed_by(f"{code}, invoke, importlib.metadata as m; invoke.run; print(m.version('typer'))")


@pytest.mark.parametrize("before", ["", "import importlib.metadata, invoke"])
def test_paramiko_knows_its_version_all_the_same(before: str) -> None:
    code = f"{before}\n{AS_THE_PROGRAM}; import paramiko; print(paramiko.__version__)"
    assert printed_by(code) == f"{metadata.version('paramiko')}\n"
    with pytest.raises(metadata.PackageNotFoundError):  # as for one that is installed in another way
        startup._Versions("importlib.metadata").version("paramik")


def test_the_program_imports_paramiko_its_own_way_and_collects_no_garbage() -> None:
    code = """
import gc, sys
import lfgpods.cli.app as app
app.main = lambda: print(type(sys.meta_path[0]).__name__, gc.isenabled()) or 0
from lfgpods.cli.startup import program
program()
"""
    assert printed_by(code) == "ParamikoFinder False\n"
