"""Draws the picture at the top of the README from a real run of `lfgpods demo`."""

from __future__ import annotations

import io
import subprocess
import sys

from rich.console import Console
from rich.text import Text

STYLES = {"#": "bright_black", "$": "bold green", "(": "yellow"}


def main(path: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lfgpods", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    console = Console(record=True, width=100, file=io.StringIO())
    for line in done.stdout.splitlines():
        console.print(Text(line, style=STYLES.get(line[:1], "default")))
    console.save_svg(path, title="lfgpods demo")


if __name__ == "__main__":
    main(sys.argv[1])
