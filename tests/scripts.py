"""Holds every shell script of the repository to shellcheck: `python -m tests.scripts`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cluster import packages
from tests.lab import MODE

ROOT = Path(__file__).parents[1]


def main() -> int:
    if shutil.which("shellcheck") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        packages.install("shellcheck")
    if shutil.which("shellcheck") is None:
        print("shellcheck is not installed, so the shell scripts were not checked; apt install shellcheck")
        return 1 if MODE == "required" else 0
    scripts = sorted(path for folder in ("lfgpods", "tests") for path in (ROOT / folder).rglob("*.sh"))
    return subprocess.run(["shellcheck", *scripts, ROOT / ".ci" / "run"]).returncode


if __name__ == "__main__":
    sys.exit(main())
