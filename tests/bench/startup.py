"""What a command line costs that asks for nothing of the host."""

from __future__ import annotations

import sys

from tests.bench.ground import Ground, program
from tests.bench.measuring import Row, alternate, contender

HOW = (
    "The installed console script as a new process, beside `python -c 'import typer'` by the same interpreter: "
    "what any program with this library costs before it does anything."
)
TYPER = "python -c 'import typer'"
BOUND = 2.5


def measure(ground: Ground) -> list[Row]:
    plain = ground.environment({})
    completing = {**plain, "_LFGPODS_COMPLETE": "complete_bash", "COMP_WORDS": "lfgpods ", "COMP_CWORD": "1"}
    assert b"create" in ground.run(program(), environment=completing)
    typer, python, *ours = alternate(
        [
            contender(TYPER, lambda: ground.run([sys.executable, "-c", "import typer"], environment=plain)),
            contender("python -c pass", lambda: ground.run([sys.executable, "-c", "pass"], environment=plain)),
            contender("lfgpods --version", lambda: ground.run(program("--version"), environment=plain)),
            contender("lfgpods --help", lambda: ground.run(program("--help"), environment=plain)),
            contender("completion in bash", lambda: ground.run(program(), environment=completing)),
        ],
        ground.rounds,
    )
    floor = [Row(one.name, one.median, one.p95) for one in (python, typer)]
    return floor + [Row(one.name, one.median, one.p95, one.median / typer.median, BOUND) for one in ours]
