"""Every kubectl command line that lfgpods sends, and its neighbours: the same answer from kubectl and its stand-in.

What real kubectl answers is recorded in kubectl_lines.json, so that the stand-in is held to it without a cluster:
`make record` writes it anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lfgpods import Owner
from lfgpods.core.objects import Object
from lfgpods.core.owners import Names
from lfgpods.hosts.base import Completed
from lfgpods.hosts.embedded.cluster import nodes
from lfgpods.pods.lifecycle import render
from tests.cluster import builds
from tests.contract.shapes import differences, shape_of
from tests.contract.sites import Site

pytestmark = pytest.mark.hostpath

RECORDED = Path(__file__).parent / "kubectl_lines.json"
RECORDED_MINOR = int(nodes.version()["minor"])
"""The recorded release is the one that the stand-in says it is."""

LEFT_OUT = {
    ".ownerReferences": "there are no ReplicaSets",
    ".managedFields": "who set which field is not told",
    ".NetworkPolicy.metadata.generation": "nothing acts on a policy",
    ".ResourceQuota.status": "nothing is counted",
}
"""What the stand-in leaves out of its JSON, with the reason."""

NOT_YET = {
    ".status.terminatingReplicas": "Deployments count their terminating pods",
    ".PersistentVolumeClaim.status.conditions": "claims tell since when no pod uses them",
    "raw claims, selected.stdout.items.item.status.conditions": "the same, where a claim does not name its kind",
    ".status.allocatedResources": "pods sum up the resources of their containers",
    ".status.resources": "the same",
}
"""Fields that servers older than the recorded release leave out, with what the release added. 1.34 has none of them."""

OLDER_WORDS = {
    "exec, no such container": "Error from server (BadRequest): container nope is not valid for pod NS-dep-HASH-POD",
    "patch, no JSON": "Error from server (BadRequest): error decoding patch: "
    "invalid character 'b' looking for beginning of object key string",
    "scale, missing": 'error: no objects passed to scale deployments.apps "nope" not found',
}
"""What kubectl 1.34, or kubectl on a server of 1.34, writes to stderr where the recorded release has other words."""

IN_THE_VOLUME = ("exec in the deployment's pod",)
"""Lines whose answer names a path in the pod."""

APPLY = ("apply", "--server-side", "--force-conflicts", "--field-manager=lfgpods", "-f", "-")
LABEL = (
    "apply",
    "--server-side",
    "--force-conflicts",
    "--field-manager=lfgpods-labels",
    "--validate=false",
    "-f",
    "-",
    "-o",
    "json",
)
LIMIT = "--request-timeout=15s"
Step = Callable[["Lines"], Completed]


class Lines:
    """One owner's objects, on which the command lines are tried in their order."""

    def __init__(self, site: Site, owner: Owner) -> None:
        self.site = site
        self.names: Names = owner.names
        self.objects = render(site.settings, owner, site.request)

    @property
    def n(self) -> tuple[str, str]:
        return ("-n", self.names.namespace)

    @property
    def five(self) -> list[str]:
        names = self.names
        return [
            f"namespace/{names.namespace}",
            f"persistentvolume/{names.volume}",
            f"persistentvolumeclaim/{names.claim}",
            f"deployment/{names.deployment}",
            f"service/{names.service}",
        ]

    @property
    def deployment(self) -> str:
        return f"deployment/{self.names.deployment}"

    @property
    def pod(self) -> str:
        found = self.kubectl("get", "pods", *self.n, "-l", f"app={self.names.namespace}", "-o", "name")
        return found.stdout.decode().split()[0].removeprefix("pod/")

    @property
    def metadata(self) -> bytes:
        items = [{key: obj[key] for key in ("apiVersion", "kind", "metadata")} for obj in self.objects]
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": items}).encode()

    @property
    def lease(self) -> bytes:
        metadata = {"name": "lease", "namespace": self.names.namespace, "labels": {"a": "b"}}
        spec = {"holderIdentity": "me", "leaseDurationSeconds": 20, "renewTime": "2026-01-01T00:00:00.000000Z"}
        api_version = "coordination.k8s.io/v1"
        return json.dumps({"apiVersion": api_version, "kind": "Lease", "metadata": metadata, "spec": spec}).encode()

    def kubectl(self, *words: str, stdin: bytes = b"") -> Completed:
        return self.site.kubectl(*words, stdin=stdin)

    def apply(self, *words: str, change: Callable[[dict[str, Object]], object] = lambda _: None) -> Completed:
        objects = {obj["kind"]: obj for obj in json.loads(json.dumps(self.objects))}
        change(objects)
        payload = {"apiVersion": "v1", "kind": "List", "items": list(objects.values())}
        return self.kubectl(*APPLY, *words, LIMIT, stdin=json.dumps(payload).encode())


def _only(kind: str, **spec: Any) -> Callable[[dict[str, Object]], object]:
    """Keep the one object of KIND, with SPEC."""

    def change(objects: dict[str, Object]) -> None:
        kept = objects[kind]
        kept["spec"].update(spec)
        objects.clear()
        objects[kind] = kept

    return change


def _set(kind: str, **spec: Any) -> Callable[[dict[str, Object]], object]:
    return lambda objects: objects[kind]["spec"].update(spec)


def _elsewhere(objects: dict[str, Object]) -> None:
    _only("Deployment")(objects)
    objects["Deployment"]["metadata"]["namespace"] = "ct-nowhere"


def _raw(lines: Lines, kind: str) -> Completed:
    return lines.kubectl("get", "--raw", f"/api/v1/namespaces/{lines.names.namespace}/{kind}?limit=5")


def _selected(lines: Lines, path: str) -> Completed:
    selector = f"labelSelector=lfgpods.io%2Fowner%3D{lines.names.slug}"
    return lines.kubectl("get", "--raw", f"{path}?{selector}&limit=5000", LIMIT)


def _page_of_events(lines: Lines, query: str) -> Completed:
    """A page without its items: which of the events comes first is not the same everywhere."""
    path = f"/api/v1/namespaces/{lines.names.namespace}/events?{query}"
    page = lines.kubectl("get", "--raw", path, LIMIT)
    if page.exit_code:
        return page
    fields = json.loads(page.stdout)
    assert fields.pop("items")
    return Completed(0, json.dumps(fields).encode(), page.stderr)


def _last_page_of_events(lines: Lines) -> Completed:
    while True:  # where something has happened in between, the stand-in does not know any more what was there before
        first = json.loads(_page_of_events(lines, "limit=1").stdout)
        last = _page_of_events(lines, f"limit=500&continue={first['metadata']['continue']}")
        if b"(Expired)" not in last.stderr:
            return last


def _everywhere(lines: Lines) -> Completed:
    kinds = "namespaces,persistentvolumes,deployments,services,pods"
    slug = lines.names.slug
    return lines.kubectl("get", kinds, "--all-namespaces", "-l", f"lfgpods.io/owner={slug}", "-o", "json", LIMIT)


def _delete(lines: Lines, *references: str, wait: int | None = None) -> Completed:
    words = ["--wait=false"] if wait is None else ["--wait", f"--timeout={wait}s"]
    return lines.kubectl("delete", *references, *lines.n, "--ignore-not-found", *words)


def _namespace_once_it_is_gone(lines: Lines) -> Completed:
    lines.kubectl("wait", "--for=delete", lines.five[0], *lines.n, "--timeout=60s")
    return lines.kubectl("get", lines.five[0], "--ignore-not-found", "-o", "json", LIMIT)


LINES: dict[str, Step] = {
    # Nothing is there.
    "get, nothing there": lambda s: s.kubectl("get", *s.five, *s.n, "--ignore-not-found", "-o", "json", LIMIT),
    "get one, missing": lambda s: s.kubectl("get", "pod/nope", *s.n, "-o", "json"),
    "get pods, no namespace": lambda s: s.kubectl("get", "pods", *s.n, "-l", "app=x", "-o", "json", LIMIT),
    "get pods, table, none": lambda s: s.kubectl("get", "pods", *s.n),
    "get unknown type": lambda s: s.kubectl("get", "nonsense", *s.n),
    "get everywhere, none": _everywhere,
    "exec, no namespace": lambda s: s.kubectl("exec", "-i", *s.n, "nope", "--", "true"),
    "apply nowhere": lambda s: s.apply(change=_elsewhere),
    "delete, nothing there": lambda s: _delete(s, *s.five[2:]),
    "wait for the end of nothing": lambda s: s.kubectl("wait", "--for=delete", s.deployment, *s.n, "--timeout=1s"),
    "patch, missing": lambda s: s.kubectl("patch", s.five[1], "--type=merge", "-p", '{"spec":{}}', LIMIT),
    # Made.
    "apply": lambda s: s.apply("-o", "json"),
    "rollout status": lambda s: Completed(
        s.kubectl("rollout", "status", s.deployment, *s.n, "--timeout=50s").exit_code, b"", b""
    ),
    "get all five": lambda s: s.kubectl("get", *s.five, *s.n, "--ignore-not-found", "-o", "json", LIMIT),
    "get five and the pod": lambda s: s.kubectl(
        "get", *s.five, f"pod/{s.pod}", *s.n, "--ignore-not-found", "-o", "json", LIMIT
    ),
    "get one": lambda s: s.kubectl("get", s.deployment, *s.n, "--ignore-not-found", "-o", "json", LIMIT),
    "get pods": lambda s: s.kubectl("get", "pods", *s.n, "-l", f"app={s.names.namespace}", "-o", "json", LIMIT),
    "get names": lambda s: s.kubectl("get", *s.five, *s.n, "-o", "name"),
    "get some missing": lambda s: s.kubectl("get", "pod/nope", s.deployment, "pod/nope2", *s.n, "-o", "name"),
    "get everywhere": _everywhere,
    "get pods, table": lambda s: s.kubectl("get", "pods", *s.n),
    "get deployment and service, table": lambda s: s.kubectl("get", "deploy,svc,pvc", *s.n),
    "get volume, table": lambda s: s.kubectl("get", "pv", s.names.volume),
    "get warnings, none": lambda s: s.kubectl(
        "get", "events", "-n", "ct-nowhere", "--field-selector", "type=Warning", "-o", "json", LIMIT
    ),
    "get events": lambda s: s.kubectl(
        "get", "events", *s.n, "--field-selector", "type=Normal,reason=Created", "-o", "json", LIMIT
    ),
    "watch": lambda s: s.kubectl(
        "get", "pods", *s.n, "-l", f"app={s.names.namespace}", "--watch", "-o", "json", "--request-timeout=1s"
    ),
    "raw pods": lambda s: _raw(s, "pods"),
    "raw services": lambda s: _raw(s, "services"),
    "raw pods, selected": lambda s: _selected(s, "/api/v1/pods"),
    "raw namespaces, selected": lambda s: _selected(s, "/api/v1/namespaces"),
    "raw volumes, selected": lambda s: _selected(s, "/api/v1/persistentvolumes"),
    "raw claims, selected": lambda s: _selected(s, "/api/v1/persistentvolumeclaims"),
    "raw services, selected": lambda s: _selected(s, "/api/v1/services"),
    "raw deployments, selected": lambda s: _selected(s, "/apis/apps/v1/deployments"),
    "raw leases, selected, none": lambda s: _selected(s, "/apis/coordination.k8s.io/v1/leases"),
    "raw first page": lambda s: _page_of_events(s, "limit=1"),
    "raw first page, selected": lambda s: _page_of_events(s, "limit=1&fieldSelector=type%3DNormal"),
    "raw last page": _last_page_of_events,
    "raw page that never was": lambda s: _page_of_events(s, "limit=1&continue=!"),
    "raw page without a number": lambda s: _page_of_events(s, "limit=many"),
    "raw nonsense": lambda s: _raw(s, "nonsense"),
    "version": lambda s: s.kubectl("version", "-o", "json"),
    "exec": lambda s: s.kubectl("exec", "-i", *s.n, s.pod, "--", "sh", "-c", "echo out; echo err >&2; exit 7"),
    "exec, killed": lambda s: s.kubectl("exec", "-i", *s.n, s.pod, "--", "sh", "-c", "kill -9 $$"),
    "exec, no such pod": lambda s: s.kubectl("exec", "-i", *s.n, "nope", "--", "true"),
    "exec, no such program": lambda s: s.kubectl("exec", "-i", *s.n, s.pod, "--", "no-such-program"),
    "exec, a folder": lambda s: s.kubectl("exec", "-i", *s.n, s.pod, "--", "/tmp"),
    "exec, no such container": lambda s: s.kubectl("exec", "-i", *s.n, s.pod, "-c", "nope", "--", "true"),
    "exec in the deployment's pod": lambda s: s.kubectl("exec", "-i", *s.n, s.deployment, "--", "pwd"),
    "logs": lambda s: s.kubectl("logs", *s.n, s.pod),
    "logs, no such pod": lambda s: s.kubectl("logs", *s.n, "nope"),
    # Changed, or refused.
    "apply again": lambda s: s.apply("-o", "name"),
    "apply labels only": lambda s: s.kubectl(*LABEL, LIMIT, stdin=s.metadata),
    "apply another volume source": lambda s: s.apply(
        "-o", "json", change=_set("PersistentVolume", hostPath={"path": "/x/y", "type": "Directory"})
    ),
    "apply another selector": lambda s: s.apply(change=_set("Deployment", selector={"matchLabels": {"app": "z"}})),
    "apply a larger claim": lambda s: s.apply(
        change=_set("PersistentVolumeClaim", resources={"requests": {"storage": "9Gi"}})
    ),
    "apply a wrong port": lambda s: s.apply(
        change=_only("Service", ports=[{"name": "http", "port": 99999, "protocol": "TCP"}])
    ),
    "apply nothing": lambda s: s.kubectl(*APPLY, stdin=b"\n"),
    "patch": lambda s: s.kubectl(
        "patch", s.five[1], "--type=merge", "-p", '{"metadata":{"annotations":{"a":"b"}}}', LIMIT
    ),
    "patch again": lambda s: s.kubectl(
        "patch", s.five[1], "--type=merge", "-p", '{"metadata":{"annotations":{"a":"b"}}}', LIMIT
    ),
    "patch, as it is then": lambda s: s.kubectl(
        "patch", s.five[1], "--type=merge", "-p", '{"metadata":{"annotations":{"a":"c"}}}', "-o", "json", LIMIT
    ),
    "patch, out of date": lambda s: s.kubectl(
        "patch", s.five[1], "--type=merge", "-p", '{"metadata":{"resourceVersion":"1","annotations":{"a":"d"}}}', LIMIT
    ),
    "create": lambda s: s.kubectl("create", "-f", "-", "--validate=false", "-o", "json", stdin=s.lease),
    "create again": lambda s: s.kubectl("create", "-f", "-", "--validate=false", "-o", "json", stdin=s.lease),
    "delete selected": lambda s: s.kubectl("delete", "leases", *s.n, "-l", "a=b", "--ignore-not-found", "--wait=false"),
    "delete selected, none": lambda s: s.kubectl(
        "delete", "leases", *s.n, "-l", "a=b", "--ignore-not-found", "--wait=false"
    ),
    "patch, no JSON": lambda s: s.kubectl("patch", s.five[1], "--type=merge", "-p", "{bad"),
    "annotate": lambda s: s.kubectl("annotate", s.five[0], "lfgpods.io/x=1"),
    "annotate otherwise": lambda s: s.kubectl("annotate", s.five[0], "lfgpods.io/x=2"),
    "annotate, overwrite": lambda s: s.kubectl("annotate", s.five[0], "lfgpods.io/x=2", "--overwrite"),
    "annotate, take away": lambda s: s.kubectl("annotate", s.five[0], "lfgpods.io/x-"),
    "label": lambda s: s.kubectl("label", s.five[0], "lfgpods.io/x=1"),
    "label otherwise": lambda s: s.kubectl("label", s.five[0], "lfgpods.io/x=2"),
    "label, the same": lambda s: s.kubectl("label", s.five[0], "lfgpods.io/x=1", "--overwrite"),
    "label, take away": lambda s: s.kubectl("label", s.five[0], "lfgpods.io/x-"),
    "rollout restart": lambda s: s.kubectl("rollout", "restart", s.deployment, *s.n),
    "rollout restart, missing": lambda s: s.kubectl("rollout", "restart", "deployment/nope", *s.n),
    "scale": lambda s: s.kubectl("scale", s.deployment, *s.n, "--replicas=0"),
    "scale, missing": lambda s: s.kubectl("scale", "deployment/nope", *s.n, "--replicas=0"),
    "wait, missing": lambda s: s.kubectl("wait", "--for=condition=Ready", "pod/nope", *s.n, "--timeout=1s"),
    "wait, too short": lambda s: s.kubectl("wait", "--for=delete", s.five[0], "--timeout=1s"),
    # Taken away.
    "delete, missing": lambda s: s.kubectl("delete", "pod/nope", "deployment/nope", *s.n),
    "delete workload": lambda s: _delete(s, s.deployment, s.five[4]),
    "delete all": lambda s: _delete(s, s.deployment, s.five[4], s.five[2], s.five[0]),
    "delete at once, missing": lambda s: s.kubectl(
        "delete", "pod/nope", *s.n, "--ignore-not-found", "--force", "--grace-period=0", "--wait=false"
    ),
    "get the namespace once it is gone": _namespace_once_it_is_gone,
    "get the released volume": lambda s: s.kubectl("get", s.five[1], "-o", "json"),
    "delete volume": lambda s: _delete(s, s.five[1], wait=30),
}


@pytest.fixture
def answers(site: Site) -> dict[str, Any]:
    """The shape of each line's answer on this site."""
    return site.once("lines", lambda: _answers(site))


def _answers(site: Site) -> dict[str, Any]:
    owner = site.new_owner()
    lines = Lines(site, owner)
    namespace = lines.names.namespace
    site.sh('mkdir -p -m 0700 "$1" && mkdir "$1/$2"', site.settings.volume_root, namespace)
    try:
        found = {name: shape_of(step(lines), namespace) for name, step in LINES.items()}
        if os.environ.get("LFGPODS_RECORD") and not hasattr(site.host, "faults"):
            RECORDED.write_text(json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n")
        return found
    finally:
        site.purge(owner)
        site.sh('rmdir "$1/$2"', site.settings.volume_root, namespace)


@pytest.fixture
def is_older(site: Site) -> bool:
    """Whether kubectl or the server of this site is of an older release than the recorded one."""
    return site.once("is_older", lambda: min(_minors(site)) < RECORDED_MINOR)


def _minors(site: Site) -> list[int]:
    versions = json.loads(site.kubectl("version", "-o", "json").stdout)
    return [int(versions[which]["minor"].rstrip("+")) for which in ("clientVersion", "serverVersion")]


@pytest.mark.parametrize("line", LINES)
def test_a_kubectl_line_is_answered_as_kubectl_does(
    site: Site, answers: dict[str, Any], is_older: bool, line: str
) -> None:
    if line in IN_THE_VOLUME:
        site.require_isolation()
    recorded, found = json.loads(RECORDED.read_text())[line], answers[line]
    if is_older and found["stderr"] == OLDER_WORDS.get(line):
        recorded["stderr"] = found["stderr"]
    left_out = {**LEFT_OUT, **NOT_YET} if is_older else LEFT_OUT
    assert differences(recorded, found, left_out, line) == []


def test_the_stand_in_says_it_is_the_release_that_the_test_cluster_has() -> None:
    default = replace(builds.KUBERNETES, module=f"kubernetes-{builds.DEFAULT_RELEASE}")
    assert default.version() == nodes.RELEASE
