"""The demo tells what it does, does it, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_the_demo_runs_with_nothing_set_up_and_leaves_nothing(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "lfgpods", "demo"],
        env={**environment, "LFGPODS_VOLUME_ROOT": str(tmp_path / "mine" / "volumes")},
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout.splitlines()
    commands = [line.split()[2] for line in told if line.startswith("$ lfgpods ")]
    assert commands == ["create", "exec", "exec", "delete", "create", "exec", "delete"]
    born = told[told.index("# A command runs in it, and writes a file to the volume at /workspace.") + 2]
    assert told[told.index("# ... and the file is there.") + 2] == born
    assert "(exit code 3)" in told
    assert done.stderr == "to stderr\n"
    assert list(tmp_path.iterdir()) == []
