"""3,000 owners in one list, and a store with 100,000 rows."""

from __future__ import annotations

import itertools
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lfgpods import Owner, Pod, PodManager, State
from lfgpods.core.changes import Action
from lfgpods.core.owners import names_of
from lfgpods.kube.labels import selector
from lfgpods.kube.lists import PagedList
from lfgpods.pods.reader import _KINDS as LISTED
from lfgpods.store.schema import ChangeRow
from lfgpods.store.store import Store
from tests.bench import api_server, owners
from tests.bench.ground import Ground, program
from tests.bench.measuring import Row, alternate, compare, contender, peak_memory
from tests.bench.rivals import Ssh
from tests.lab import Lab

HOW = (
    "3,000 owners in a Kubernetes API without nodes. `PodManager.list` on an open connection, beside kubectl on the "
    "same host through OpenSSH with ControlMaster, whose output nobody reads: its raw lists of the same objects one "
    "after another, or one get of the owner's. `lfgpods list` is a new process, beside OpenSSH that logs in too. Memory "
    "is the peak of a process that lists once (VmHWM). Then questions to a store of 100,000 rows."
)
OWNERS = 3_000
ROWS = 100_000
COMMAND_ROUNDS = 5
RATIO = 1.5
MEMORY = 200.0
QUERY = 0.020
RAW_LISTS = "kubectl's raw lists on the same host"
GET = "kubectl get of that owner's objects on the same host"
RAW_LISTS_AND_LOGIN = "ssh host kubectl, the same raw lists"
LIST_ONCE = f"""\
from pathlib import Path
from lfgpods import PodManager
with PodManager() as manager:
    assert len(manager.list()) == {OWNERS}
print(Path("/proc/self/status").read_text())
"""


def measure(ground: Ground) -> list[Row]:
    folder = ground.folder / "scale"
    folder.mkdir(exist_ok=True)
    with api_server.running() as api:
        environment = {
            **ground.lab.environment,
            "LFGPODS_KUBECTL": f"kubectl --kubeconfig {api.kubeconfig}",
            "LFGPODS_DATABASE": str(folder / "lfgpods.db"),
        }
        lab = Lab(environment, folder, ground.cluster)
        ground.report(f"making {OWNERS} owners")
        owners.make(api, lab.settings(), OWNERS)
        with lab.manager() as manager, ground.ssh.kept_open(folder / "control") as open_ssh:
            listed = _listing(ground, lab, manager, open_ssh)
            return [*listed, _memory(ground, lab), *_commands(ground, lab), *_store(ground, folder, manager.list()[0])]


def _listing(ground: Ground, lab: Lab, manager: PodManager, open_ssh: Ssh) -> list[Row]:
    start = time.perf_counter()
    pods = manager.list()
    first = time.perf_counter() - start
    _check(pods)
    every, raw_lists = alternate(
        [
            contender("list of 3,000", manager.list),
            contender(RAW_LISTS, lambda: _pour(open_ssh("sh", "-c", _raw_lists(lab)))),
        ],
        ground.rounds,
    )
    _check(manager.list())
    owner = pods[OWNERS // 2].owner
    one, got = alternate(
        [
            contender("list of one owner", lambda: manager.list(owner)),
            contender(GET, lambda: _pour(open_ssh(*_get(lab, owner)))),
        ],
        ground.rounds,
    )
    return [
        *compare(every, [raw_lists], {RAW_LISTS: RATIO}),
        Row("list of 3,000, nothing remembered", first),
        *compare(one, [got], {GET: RATIO}),
    ]


def _check(pods: Sequence[Pod]) -> None:
    """The answer is complete and right."""
    assert [pod.owner for pod in pods] == owners.owners(OWNERS)
    wrong = [
        pod for pod in pods
        if pod.status is not State.RUNNING or not (pod.pod_name and pod.access_url and pod.started_at)
    ]  # fmt: skip
    assert not wrong, wrong[0]


def _memory(ground: Ground, lab: Lab) -> Row:
    """Of a new process that lists once."""
    status = ground.run([sys.executable, "-c", LIST_ONCE], environment=ground.environment(lab.environment)).decode()
    return Row("memory of list, at most", peak_memory(status), bound=MEMORY, unit="MB")


def _commands(ground: Ground, lab: Lab) -> list[Row]:
    """What a person waits for: the start of the program, the login and the list."""
    environment = ground.environment(lab.environment)

    def listed(form: str) -> None:
        ground.run(program("list", "-o", form), environment=environment)

    names, json, table, raw_lists = alternate(
        [
            contender("lfgpods list -o name, from the shell", lambda: listed("name")),
            contender("lfgpods list -o json, from the shell", lambda: listed("json")),
            contender("lfgpods list -o table, from the shell", lambda: listed("table")),
            contender(RAW_LISTS_AND_LOGIN, lambda: _pour(ground.ssh("sh", "-c", _raw_lists(lab)))),
        ],
        min(COMMAND_ROUNDS, ground.rounds),
    )
    return [*compare(names, [raw_lists]), *(Row(one.name, one.median, one.p95) for one in (json, table))]


def _store(ground: Ground, folder: Path, pod: Pod) -> list[Row]:
    """Questions about one of very many owners, each with a row like that of POD."""
    store = Store(str(folder / "many.db"), "host")
    try:
        every = [Owner.project(f"row-{number}") for number in range(ROWS)]
        _fill(store, every, pod)
        asked: Iterator[Owner] = itertools.cycle(every[:: ROWS // 1000])
        samples = alternate(
            [
                contender("find one of 100,000 rows", lambda: _there(store.find(next(asked)))),
                contender("history of one of 100,000 rows", lambda: _there(store.changes(next(asked)))),
                contender("what is unfinished of one of 100,000", lambda: store.unfinished(next(asked))),
            ],
            ground.rounds,
        )
    finally:
        store.close()
    return [Row(one.name, one.median, one.p95, bound=QUERY) for one in samples]


def _fill(store: Store, every: Sequence[Owner], pod: Pod) -> None:
    """A pod and an event of EVERY owner."""
    store.remember(*(replace(pod, owner=owner, namespace=names_of(owner).namespace) for owner in every))
    event = store.begin(Action.CREATE, every[0], "busybox")
    store.finish(event)

    def write() -> None:
        values = ChangeRow.select().where(ChangeRow.id == event).dicts().execute(store._database)[0]
        del values["id"]
        for start in range(0, len(every), 50):
            batch = [{**values, "owner_id": owner.id} for owner in every[start : start + 50]]
            ChangeRow.insert_many(batch).execute(store._database)

    store._engine.transaction(write)


def _there(found: object) -> None:
    assert found


def _raw_lists(lab: Lab) -> str:
    """The lists that ours needs, as a shell script on the host would get them: kubectl at its fastest."""
    settings = lab.settings()
    lists = [PagedList([kind], selector(settings.instance)) for kind in LISTED]
    return " && ".join(shlex.join([*settings.kubectl, *one.args]) for one in lists)


def _get(lab: Lab, owner: Owner) -> list[str]:
    names = names_of(owner)
    words = [f"namespace/{names.namespace}", f"pv/{names.volume}", f"pvc/{names.claim}", f"deploy/{names.deployment}"]
    command = ["get", *words, f"svc/{names.service}", "-n", names.namespace, "--ignore-not-found", "-o", "json"]
    return [*lab.settings().kubectl, *command]


def _pour(argv: Sequence[str]) -> None:
    """Run a rival, whose output costs nobody anything."""
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
