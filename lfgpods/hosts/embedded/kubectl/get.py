"""The kubectl verbs that read: get (with --watch and --raw), logs, version, wait, rollout status."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path

from lfgpods.hosts.embedded.cluster.cluster import Cluster
from lfgpods.hosts.embedded.cluster.errors import ApiError, KubectlError, NotFoundError
from lfgpods.hosts.embedded.cluster.kinds import DEPLOYMENT, NAMESPACE, POD, Kind
from lfgpods.hosts.embedded.cluster.nodes import version as server_version
from lfgpods.hosts.embedded.cluster.objects import Matches, Objects, Record
from lfgpods.hosts.embedded.kubectl import printing, raw
from lfgpods.hosts.embedded.kubectl.arguments import Arguments, field_selector, label_selector, references
from lfgpods.hosts.embedded.kubectl.streams import Streams

POLL = (0.004, 0.03)
"""Seconds between two polls: at first, and at most while nothing changes."""


def get(cluster: Cluster, arguments: Arguments, streams: Streams) -> int:
    if "raw" in arguments.values:
        return raw.get(cluster, arguments.value("raw"), streams)
    wanted = references(arguments.words)
    if arguments.on("watch"):
        return _watch(cluster, arguments, streams, wanted)
    named = wanted[0][1] is not None
    objects = cluster.refresh()
    found, missing = _select(objects, arguments, wanted)
    several = len({kind for kind, _ in wanted}) > 1
    if missing and not arguments.on("ignore-not-found"):
        if found:
            streams.out(printing.show(found, arguments.output, objects.now, single=False, several_kinds=several))
        for error in missing:
            streams.err(f"{error.text}\n")
        return 1
    if named and not found:
        return 0
    if not found and not arguments.output:
        where = "" if arguments.on("all-namespaces") else f" in {arguments.namespace} namespace"
        where = where if any(kind.namespaced for kind, _ in wanted) else ""
        streams.err(f"No resources found{where}{'.' if where else ''}\n")
        return 0
    single = named and len(wanted) == 1
    streams.out(printing.show(found, arguments.output, objects.now, single=single, several_kinds=several))
    return 0


def _select(
    objects: Objects, arguments: Arguments, wanted: list[tuple[Kind, str | None]]
) -> tuple[list[Record], list[ApiError]]:
    """The objects that the command line names, and an error for each that does not exist."""
    matches = _filter(arguments)
    namespace = None if arguments.on("all-namespaces") else arguments.namespace
    found: list[Record] = []
    missing: list[ApiError] = []
    for kind, name in wanted:
        if name is None:
            found += objects.all(kind, namespace, matches)
            continue
        record = objects.find(kind, arguments.namespace, name)
        if record is None:
            home = not kind.namespaced or objects.find(NAMESPACE, "", arguments.namespace)
            missing.append(NotFoundError(kind, name) if home else NotFoundError(NAMESPACE, arguments.namespace))
        else:
            found.append(record)
    return found, missing


def _filter(arguments: Arguments) -> Matches:
    by_labels = label_selector(arguments.value("selector"))
    by_fields = field_selector(arguments.value("field-selector"))
    return lambda obj: by_labels(obj) and by_fields(obj)


def _watch(cluster: Cluster, arguments: Arguments, streams: Streams, wanted: list[tuple[Kind, str | None]]) -> int:
    """Print each object, again whenever it changes, and once more when it is gone."""
    seen: dict[str, Record] = {}
    limit = arguments.seconds("request-timeout")
    for objects in _poll(cluster, streams, limit, lambda: {uid: r.obj for uid, r in seen.items()}):
        found, missing = _select(objects, arguments, wanted)
        if missing and not seen:
            raise missing[0]
        changed = [r for r in found if r.uid not in seen or seen[r.uid].obj != r.obj]
        gone = [seen.pop(uid) for uid in set(seen) - {record.uid for record in found}]
        for record in [*changed, *gone]:
            streams.out(printing.show([record], arguments.output, objects.now, single=True, several_kinds=False))
        for record in changed:
            seen[record.uid] = Record(record.kind, deepcopy(record.obj))
    return 0


def _poll(
    cluster: Cluster, streams: Streams, limit: float | None, state: Callable[[], object] | None = None
) -> Iterator[Objects]:
    """All objects, again and again for LIMIT seconds; less often while the result of STATE does not change."""
    deadline = None if limit is None else time.monotonic() + limit
    delay, before = POLL[0], None
    while True:
        yield cluster.refresh()
        now = json.dumps(state(), sort_keys=True) if state else None
        delay = POLL[0] if now != before else min(POLL[1], delay * 1.3)
        before = now
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            return
        streams.pause(delay if left is None else min(delay, left))


def wait(cluster: Cluster, arguments: Arguments, streams: Streams) -> int:
    """`--for=delete` and `--for=condition=NAME`."""
    goal = arguments.value("for")
    wanted = references(arguments.words)
    if goal.startswith("condition="):
        name, _, value = goal.removeprefix("condition=").partition("=")

        def reached(record: Record | None) -> bool:
            conditions = ((record.obj if record else {}).get("status") or {}).get("conditions") or []
            return any(c["type"].lower() == name.lower() and c["status"] == (value or "True") for c in conditions)

    elif goal == "delete":

        def reached(record: Record | None) -> bool:
            return record is None

    else:
        raise KubectlError(f'error: unrecognized condition: "{goal}"')
    objects = cluster.refresh()
    found, missing = _select(objects, arguments, wanted)
    if missing and goal != "delete":
        raise missing[0]
    waited = {record.uid: record for record in found}
    return wait_until(cluster, streams, waited, reached, arguments.seconds("timeout") or 30.0, goal)


def wait_until(
    cluster: Cluster,
    streams: Streams,
    waited: dict[str, Record],
    reached: Callable[[Record | None], bool],
    limit: float | None,
    goal: str = "",
) -> int:
    """Wait until REACHED is true for each of WAITED; it gets None for an object that is gone. Returns the exit code."""
    pending = dict(waited)
    for objects in _poll(cluster, streams, limit):
        now = {record.uid: record for record in objects}
        for uid, record in list(pending.items()):
            if reached(now.get(uid)):
                del pending[uid]
                if goal:
                    streams.out(f"{record.reference} condition met\n")
            elif uid not in now:
                raise NotFoundError(record.kind, record.name)
        if not pending:
            return 0
    for record in pending.values():
        streams.err(f"error: timed out waiting for the condition on {record.kind.plural}/{record.name}\n")
    return 1


def rollout_status(cluster: Cluster, arguments: Arguments, streams: Streams) -> int:
    (kind, name), *_ = references(arguments.words[1:])
    shown = ""
    for objects in _poll(cluster, streams, arguments.seconds("timeout")):
        deployment = objects.find(kind, arguments.namespace, name or "")
        if deployment is None:
            raise NotFoundError(kind, name or "")
        wanted, status = deployment.obj["spec"]["replicas"], deployment.obj.get("status") or {}
        ready, updated = status.get("availableReplicas", 0), status.get("updatedReplicas", 0)
        if ready == updated == wanted == status.get("replicas", 0):
            streams.out(f'deployment "{name}" successfully rolled out\n')
            return 0
        text = f'Waiting for deployment "{name}" rollout to finish: '
        text += f"{ready} of {wanted} updated replicas are available...\n"
        if text != shown:
            streams.out(text)
            shown = text
    streams.err("error: timed out waiting for the condition\n")
    return 1


def version(cluster: Cluster, arguments: Arguments, streams: Streams) -> int:
    known = server_version()
    if arguments.output == "json":
        emulated = {"emulationMajor": "1", "emulationMinor": known["minor"]}
        oldest = {"minCompatibilityMajor": "1", "minCompatibilityMinor": str(int(known["minor"]) - 1)}
        server = {**known, **emulated, **oldest}
        versions = {"clientVersion": known, "kustomizeVersion": "none", "serverVersion": server}
        streams.out(json.dumps(versions, indent=2) + "\n")
    else:
        git = known["gitVersion"]
        streams.out(f"Client Version: {git}\nKustomize Version: none\nServer Version: {git}\n")
    return 0


def logs(cluster: Cluster, arguments: Arguments, streams: Streams) -> int:
    """Print the output of the container's first process; with --follow until it exits."""
    objects = cluster.refresh()
    pod = find_pod(objects, arguments.namespace, arguments.words[0] if arguments.words else "", for_logs=True)
    container = pod.obj["spec"]["containers"][0]["name"]
    asked = arguments.value("container") or (arguments.words[1] if len(arguments.words) > 1 else container)
    if asked != container:
        raise ApiError("BadRequest", f"container {asked} is not valid for pod {pod.name}")
    waiting = _waiting(pod)
    previous = cluster.kubelet.earlier_container(pod)
    if arguments.on("previous") and previous is None:
        raise ApiError("BadRequest", f'previous terminated container "{container}" in pod "{pod.name}" not found')
    if waiting and previous is None:
        what = f'container "{container}" in pod "{pod.name}" is waiting to start: {waiting}'
        raise ApiError("BadRequest", what)
    shown = previous if previous and (waiting or arguments.on("previous")) else cluster.kubelet.container(pod)
    path = shown.log
    position = _print_log(path, streams, arguments.value("tail", "-1"))
    if arguments.on("follow"):
        for objects in _poll(cluster, streams, None):
            position = _print_log(path, streams, "-1", position)
            now = objects.find(POD, pod.namespace, pod.name)
            if now is None or now.uid != pod.uid or not cluster.kubelet.is_running(now):
                break
    return 0


def _waiting(pod: Record) -> str:
    statuses = pod.obj["status"].get("containerStatuses") or [{"state": {"waiting": {"reason": "ContainerCreating"}}}]
    reason = str((statuses[0]["state"].get("waiting") or {}).get("reason", ""))
    words: dict[str, str] = {
        "ErrImagePull": "image can't be pulled",
        "ImagePullBackOff": "trying and failing to pull image",
    }
    return words.get(reason, reason)


def _print_log(path: Path, streams: Streams, tail: str, start: int = 0) -> int:
    try:
        data = path.read_bytes()[start:]
    except FileNotFoundError:
        data = b""
    text = data.decode(errors="replace")
    lines = text.splitlines(keepends=True)
    streams.out("".join(lines[-int(tail) :] if int(tail) > 0 else [] if tail == "0" else lines))
    return start + len(data)


def find_pod(objects: Objects, namespace: str, reference: str, *, for_logs: bool = False) -> Record:
    """The pod for REFERENCE: its name, `pod/name` or `deployment/name`. Raises KubectlError if there is none."""
    type_, slash, name = reference.partition("/")
    if slash and references([reference])[0][0] is DEPLOYMENT:
        deployment = objects.find(DEPLOYMENT, namespace, name)
        if deployment is None:
            raise NotFoundError(DEPLOYMENT, name)
        pods = objects.all(POD, namespace, lambda obj: not obj["metadata"].get("deletionTimestamp"))
        pods = [pod for pod in pods if pod.private.get("deployment") == deployment.uid]
        if not pods:
            raise KubectlError("error: timed out waiting for the condition")
        return pods[0]
    name = name if slash else type_
    pod = objects.find(POD, namespace, name)
    if pod is not None:
        return pod
    if for_logs:
        raise KubectlError(f'error: error from server (NotFound): pods "{name}" not found in namespace "{namespace}"')
    if objects.find(NAMESPACE, "", namespace) is None:
        raise NotFoundError(NAMESPACE, namespace)
    raise NotFoundError(POD, name)
