"""`python -m tests.bench [SECTION ...]`: what lfgpods costs beside its rivals, and whether its promises hold.

Ends with 1 where a bound does not hold. A whole run writes RESULTS.md; nothing else of it is left behind.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from tests.bench import cold, create, embedded, keeper, report, scale, startup, streams, warm
from tests.bench.ground import Ground, ground
from tests.bench.measuring import Row
from tests.cluster import ClusterError

ROUNDS = 20
MEGABYTES = 1000
_INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)


class Section(Protocol):
    """A module that measures one thing and says how."""

    HOW: str

    def measure(self, ground: Ground) -> list[Row]: ...


SECTIONS: Mapping[str, Section] = {
    "startup": startup,
    "create": create,
    "exec-cold": cold,
    "exec-warm": warm,
    "exec-keeper": keeper,
    "scale": scale,
    "streams": streams,
    "embedded": embedded,
}


def main(argv: Sequence[str] | None = None) -> int:
    asked = _parsed(argv)
    sections = asked.section or list(SECTIONS)
    for number in _INTERRUPTIONS:
        signal.signal(number, _interrupt)
    results: dict[str, list[Row]] = {}
    try:
        with ground(asked.rounds, asked.size * 1_000_000, _say) as made:
            for section in sections:
                _say(f"measuring {section}")
                results[section] = SECTIONS[section].measure(made)
                print(f"\n{section}\n{report.table(results[section])}\n", flush=True)
            measured_on = report.machine(made)
            print(report.aligned(measured_on), flush=True)
            if asked.write or (sections == list(SECTIONS) and asked.rounds >= ROUNDS):
                how = {section: SECTIONS[section].HOW for section in sections}
                report.PAGE.write_text(report.page(asked.rounds, measured_on, results, how))
    except ClusterError as error:
        _say(f"there is nothing to measure on: {error}")
        return 2
    except KeyboardInterrupt:
        return 130
    missed = [f"{section}: {row.what}" for section, rows in results.items() for row in rows if row.holds is False]
    for one in missed:
        _say(f"the bound does not hold: {one}")
    return 1 if missed else 0


def _interrupt(*_: object) -> None:
    """Only once: what is left behind is taken away after it, and that is not to be interrupted."""
    for number in _INTERRUPTIONS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("section", nargs="*", help=f"of {', '.join(SECTIONS)}; all without one")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"[default: {ROUNDS}]")
    parser.add_argument("--size", type=int, default=MEGABYTES, metavar="MB", help=f"of a stream [default: {MEGABYTES}]")
    parser.add_argument("--write", action="store_true", help="write RESULTS.md also if this is not a whole run")
    asked = parser.parse_args(argv)
    unknown = [section for section in asked.section if section not in SECTIONS]
    if unknown or asked.rounds < 1 or asked.size < 1:
        parser.error(f"there is no section {unknown[0]}" if unknown else "--rounds and --size are at least 1")
    return asked


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
