"""The table on the terminal and the page that keeps it, with what they were measured on."""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tests.bench.ground import Ground
from tests.bench.measuring import HEADER, Row

PAGE = Path(__file__).parent / "RESULTS.md"
PACKAGES = ("lfgpods", "paramiko", "kubernetes", "kr8s")

_WARM = (
    "the milliseconds are the machine's and the hour's: 4.0 to 5.8 in twenty measurements, each 1/28 to 1/35 of "
    "kubectl beside it. The floor is 4.2 ms where kubectl takes 150: two echoes through SSH and an open `kubectl exec` of "
    "1.8 ms each (1.2 of them without SSH), and 0.6 ms of the shell in the pod. Tried: the pod looked up while the shell "
    "answers, by a statement that is built once (0.7 ms less), TCP without delayed acknowledgements (40 ms less), the "
    "command handed over with the question and begun by its answer (no difference), one answer fewer (no difference). Not "
    "done, as each leaves a safety out: a single echo, for which the shell says ahead that it takes a further command "
    "(0.7 ms less; but of 60 commands right behind the kill of a waiting shell 32 were then of unknown outcome, where now "
    "each runs in a new one); no helper in the pod that watches the caller (0.2 ms less), as a caller's death would not "
    "end the command."
)
NOTES: Mapping[tuple[str, str], str] = {
    ("create", "kubectl on the host itself"): (
        "up to a second of each create is the wait for kubelet's next look, which is chance: a container of lfgpods' was "
        "started 0.82 s after the beginning, one of kubectl's 0.72 s after it (medians of 15, by containerd's log). The "
        "floor is three remote commands with five to seven starts of kubectl beside the rival's two. Tried: the look "
        "at what is there in the round trip that takes the lock and the nodes beside both, folder, manifests and "
        "the end of the lock in one, manifests that are known to be valid not validated."
    ),
    ("exec-cold", "ssh host kubectl"): (
        "0.97 to 1.03 in four runs, by how fast the machine runs Python beside how fast it starts kubectl. The floor is "
        "a start of Python with typer (60 to 90 ms) and one of kubectl (125 to 155 ms), and a login between them. Tried: "
        "each import only where it is needed, a plain connection without Fabric (100 ms less), one remote command on one "
        "channel, ciphers without a checksum of their own, packets of the login acknowledged at once (40 ms less), "
        "paramiko without importlib.metadata (10 to 17 ms), no command but `exec` looked at by typer (9 ms), an end "
        "without taking the interpreter apart (7 ms). A login beside the look into the store gains nothing, as both are "
        "this process's own computing."
    ),
    ("exec-warm", "PodManager.exec, busybox"): _WARM,
    ("exec-warm", "PodManager.exec, Debian"): _WARM,
    ("create", "10 by one kubectl on the host itself"): (
        "kubectl takes 4 s where every claim is bound before its pod is looked at, and 9 to 18 s where one is not; "
        "`lfgpods` takes 5 to 7 s either way, so that the median is decided by which happens more often. The floor: "
        "each owner has a lock to take and to give back, a look at what is there, an apply and a wait of its own, "
        "five starts of kubectl of 60 ms of a core each, where the rival needs two for all ten. On two cores, which the "
        "ten pods keep busy for 2.5 s, that is 1.5 s more. Tried: the nodes asked once for all ten, to leave a pod with "
        "an unbound claim to the scheduler (7 to 8 s), to give the claim a second before its pod is made anew once more "
        "(no difference), six at once instead of ten (5.8 s, but a larger host would wait), a rarer garbage collection "
        "in kubectl (6 ms of 55)."
    ),
}
"""For a section's row whose bound does not hold: where the floor is, and what was tried."""


def table(rows: Sequence[Row]) -> str:
    """For the terminal."""
    return aligned([HEADER, *(row.cells for row in rows)])


def aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def page(
    rounds: int, measured_on: Sequence[tuple[str, str]], results: Mapping[str, Sequence[Row]], how: Mapping[str, str]
) -> str:
    """For RESULTS.md: the machine, and each section with how it is measured, its rows and its notes."""
    parts = [
        "# What lfgpods costs, beside its rivals",
        f"`make bench` wrote this. In each of {rounds} rounds (fewer where a section says so) ours and each rival "
        "run once, in turn. A ratio is of ours to the rival in whose row it stands, and ratios decide: seconds are this "
        "machine's own.",
        _markdown(("Measured on", ""), measured_on),
    ]
    for section, rows in results.items():
        parts += [f"## {section}", how[section], _markdown(HEADER, [row.cells for row in rows])]
        parts += [
            f"- **{row.what}**: {NOTES.get((section, row.what), 'no note yet.')}" for row in rows if row.holds is False
        ]
    return "\n\n".join(parts) + "\n"


def machine(ground: Ground) -> list[tuple[str, str]]:
    """What the figures depend on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return [
        ("Date", datetime.now(UTC).strftime("%Y-%m-%d")),
        (
            "Machine",
            f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, {platform.system()} {platform.release()}",
        ),
        ("Python", platform.python_version()),
        *((package, _version(package)) for package in PACKAGES),
        ("OpenSSH", _open_ssh()),
        *(_kubernetes(ground) if ground.has_cluster else ()),
    ]


def _kubernetes(ground: Ground) -> list[tuple[str, str]]:
    told = json.loads(ground.kubectl("version", "-o", "json"))
    return [("kubectl", told["clientVersion"]["gitVersion"]), ("Kubernetes", told["serverVersion"]["gitVersion"])]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _open_ssh() -> str:
    told = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr
    return (re.match(r"OpenSSH_(\S+)", told) or [told, told.strip()])[1]


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] + ["---:"] * (len(header) - 1) if len(header) > 2 else ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
