"""3,000 owners: `list` beside kubectl's own raw lists on the same host, and the store with 100,000 rows.

`python -m tests.bench.scale` prints the rows that `measure` returns. Nothing of it is left behind, however it ends.
"""

from __future__ import annotations

import os
import shlex
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lfgpods import Owner, PodManager, State
from lfgpods.cluster import _KINDS as LISTED
from lfgpods.events import Action
from lfgpods.labels import SELECTOR
from lfgpods.naming import names_of
from lfgpods.pages import ObjectList
from lfgpods.pod import Pod
from lfgpods.store import Store
from lfgpods.store.schema import EventRow
from tests.bench import api_server, owners
from tests.cluster import HOST_ADDRESS, KEY, KNOWN_HOSTS, ROOT_ACCOUNT, Cluster
from tests.lab import Lab, host_environment

OWNERS = 3_000
ROWS = 100_000
ROUNDS = 20
RATIO = 1.5
MEMORY = 200.0
QUERY = 0.020


@dataclass(frozen=True)
class Row:
    """One figure: seconds unless UNIT says otherwise; BOUND is of the ratio where there is a rival, else of OURS."""

    name: str
    ours: float
    rival: float | None = None
    bound: float | None = None
    unit: str = "s"
    ours_p95: float | None = None
    rival_p95: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours / self.rival if self.rival else None

    @property
    def holds(self) -> bool:
        measured = self.ours if self.ratio is None else self.ratio
        return self.bound is None or measured <= self.bound


def measure(cluster: Cluster, report: Callable[[str], None] = print) -> list[Row]:
    """Build the owners, measure, and take everything away again. Raises AssertionError for an answer that is wrong."""
    with api_server.running() as api, tempfile.TemporaryDirectory() as folder:
        environment = {
            **host_environment(cluster),
            "LFGPODS_KUBECTL": f"kubectl --kubeconfig {api.kubeconfig}",
            "LFGPODS_DATABASE": f"{folder}/lfgpods.db",
            "LFGPODS_LOG_FILE": f"{folder}/lfgpods.log",
        }
        lab = Lab(environment, Path(folder), cluster)
        report(f"making {OWNERS} owners")
        start = time.monotonic()
        owners.make(api, lab.settings(), OWNERS)
        report(f"made in {time.monotonic() - start:.0f} s; measuring {ROUNDS} rounds")
        with _open_connection(Path(folder)) as ssh, lab.manager() as manager:
            return [*_listing(lab, manager, ssh), *_memory(lab), *_commands(lab, Path(folder)), *_store(Path(folder))]


def _listing(lab: Lab, manager: PodManager, ssh: Sequence[str]) -> Iterator[Row]:
    raw, owner = _raw_lists(lab), owners.owners(OWNERS)[OWNERS // 2]
    start = time.perf_counter()
    _check(manager.list())
    first = time.perf_counter() - start
    yield _side_by_side("list of 3,000", manager.list, lambda: _run([*ssh, raw]), RATIO)
    _check(manager.list())
    yield Row("list of 3,000, nothing remembered", first)
    one = _get_of(lab, owner)
    yield _side_by_side("list of one owner", lambda: manager.list(owner), lambda: _run([*ssh, one]), RATIO)


def _check(pods: Sequence[Pod]) -> None:
    """The answer is complete and right."""
    assert [pod.owner for pod in pods] == owners.owners(OWNERS)
    wrong = [
        pod for pod in pods
        if pod.status is not State.RUNNING or not (pod.pod_name and pod.access_url and pod.started_at)
    ]  # fmt: skip
    assert not wrong, wrong[0]


def _memory(lab: Lab) -> Iterator[Row]:
    """Of a fresh process that lists once."""
    script = (
        "import resource; from lfgpods import PodManager\n"
        "with PodManager() as manager: assert len(manager.list()) == %d\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script % OWNERS], env=_variables(lab), cwd=lab.folder, capture_output=True, check=True
    )
    yield Row("memory of list, at most", float(done.stdout), bound=MEMORY, unit="MB")


def _commands(lab: Lab, folder: Path) -> Iterator[Row]:
    """What a person waits for: the start of the program, the login and the list."""
    cold = _ssh(folder / "none")

    def listed(form: str) -> Callable[[], object]:
        return lambda: _succeeded(lab.lfgpods("list", "-o", form))

    for form in ("name", "json", "table"):
        rival = (lambda: _run([*cold, _raw_lists(lab)])) if form == "name" else None
        yield _side_by_side(f"lfgpods list -o {form}, from the shell", listed(form), rival, None, rounds=5)


def _store(folder: Path) -> Iterator[Row]:
    """Questions about one of very many owners."""
    store = Store(str(folder / "many.db"), "host")
    seed, every = _remembered(folder), [Owner.project(f"row-{number}") for number in range(ROWS)]
    store.remember(*(replace(seed, owner=owner, namespace=names_of(owner).namespace) for owner in every))
    event = store.begin(Action.CREATE, every[0], "busybox")
    store.finish(event)

    def fill() -> None:
        values = EventRow.select().where(EventRow.id == event).dicts().execute(store._database)[0]
        del values["id"]
        for start in range(0, ROWS, 50):
            batch = [{**values, "owner_id": owner.id} for owner in every[start : start + 50]]
            EventRow.insert_many(batch).execute(store._database)

    store._engine.transaction(fill)
    asked = iter(every[:: ROWS // 1000])
    try:
        yield _side_by_side("find one of 100,000 rows", lambda: _there(store.find(next(asked))), None, QUERY)
        yield _side_by_side("history of one of 100,000 rows", lambda: _there(store.events(next(asked))), None, QUERY)
        yield _side_by_side("what is unfinished of one of 100,000", lambda: store.unfinished(next(asked)), None, QUERY)
    finally:
        store.close()


def _remembered(folder: Path) -> Pod:
    """Any pod of those that were listed."""
    for name in _hosts_in(folder / "lfgpods.db"):
        store = Store(str(folder / "lfgpods.db"), name)
        try:
            return store.all()[0]
        finally:
            store.close()
    raise AssertionError("nothing was remembered")


def _hosts_in(database: Path) -> list[str]:
    connection = sqlite3.connect(database)
    try:
        return [name for (name,) in connection.execute("SELECT DISTINCT host FROM pods")]
    finally:
        connection.close()


def _there(found: object) -> None:
    assert found


def _side_by_side(
    name: str,
    ours: Callable[[], object],
    rival: Callable[[], object] | None,
    bound: float | None,
    rounds: int = ROUNDS,
) -> Row:
    """Alternating rounds, so that whatever else the machine does hits both."""
    mine: list[float] = []
    others: list[float] = []
    for _ in range(rounds):
        for work, seconds in ((ours, mine), (rival, others)):
            if work is not None:
                start = time.perf_counter()
                work()
                seconds.append(time.perf_counter() - start)
    return Row(
        name,
        statistics.median(mine),
        statistics.median(others) if others else None,
        bound,
        ours_p95=_p95(mine),
        rival_p95=_p95(others) if others else None,
    )


def _p95(seconds: Sequence[float]) -> float:
    return sorted(seconds)[max(0, round(0.95 * len(seconds)) - 1)]


def _raw_lists(lab: Lab) -> str:
    """The lists that ours needs, as a shell script on the host would get them: kubectl at its fastest."""
    kubectl = lab.settings().kubectl
    lists = [ObjectList([kind], SELECTOR) for kind in LISTED]
    return " && ".join(shlex.join([*kubectl, *one.words]) for one in lists)


def _get_of(lab: Lab, owner: Owner) -> str:
    names = names_of(owner)
    words = [f"namespace/{names.namespace}", f"pv/{names.volume}", f"pvc/{names.claim}", f"deploy/{names.deployment}"]
    command = ["get", *words, f"svc/{names.service}", "-n", names.namespace, "--ignore-not-found", "-o", "json"]
    return shlex.join([*lab.settings().kubectl, *command])


@contextmanager
def _open_connection(folder: Path) -> Iterator[list[str]]:
    """The words with which OpenSSH runs a command on a connection that is open."""
    ssh = _ssh(folder / "ssh")
    master = subprocess.Popen([*ssh, "-o", "ControlMaster=yes", "-N"], stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while subprocess.run([*ssh, "-O", "check"], capture_output=True, check=False).returncode:
            assert time.monotonic() < deadline
        yield ssh
    finally:
        master.terminate()
        master.wait()


def _ssh(control: Path) -> list[str]:
    options = [f"UserKnownHostsFile={KNOWN_HOSTS}", f"ControlPath={control}", "BatchMode=yes"]
    words = [word for option in options for word in ("-o", option)]
    return ["ssh", "-F", "none", "-i", str(KEY), *words, f"{ROOT_ACCOUNT}@{HOST_ADDRESS}"]


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)


def _succeeded(done: subprocess.CompletedProcess[bytes]) -> None:
    assert done.returncode == 0, done.stderr


def _variables(lab: Lab) -> Mapping[str, str]:
    return {**os.environ, **lab.environment}


def show(rows: Sequence[Row]) -> str:
    """ROWS as a table."""

    def told(value: float | None, unit: str) -> str:
        if value is None:
            return "-"
        return f"{value:.0f} MB" if unit == "MB" else f"{value * 1000:.1f} ms"

    lines = [f"{'':42} {'ours':>10} {'p95':>10} {'rival':>10} {'p95':>10} {'ratio':>6} {'bound':>8}"]
    for row in rows:
        bound = "-" if row.bound is None else f"{row.bound:g}" if row.rival else told(row.bound, row.unit)
        figures = [told(value, row.unit) for value in (row.ours, row.ours_p95, row.rival, row.rival_p95)]
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        columns = " ".join(f"{figure:>10}" for figure in figures)
        lines.append(f"{row.name:42} {columns} {ratio:>6} {bound:>8} {'' if row.holds else 'MISSED'}".rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    test_cluster = Cluster(print)
    test_cluster.up()
    found = measure(test_cluster)
    print(show(found))
    sys.exit(not all(row.holds for row in found))
