"""How the embedded cluster behaves, beyond what lfgpods needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lfgpods.hosts.base import Completed
from lfgpods.hosts.run import run
from lfgpods.testing import EmbeddedLfgpods
from tests.waiting import eventually


def kubectl(embedded: EmbeddedLfgpods, *words: str, stdin: str = "") -> Completed:
    return run(embedded.host, ("kubectl", *words), stdin=stdin.encode())


def get(embedded: EmbeddedLfgpods, *words: str) -> Any:
    return json.loads(kubectl(embedded, "get", *words, "-o", "json").stdout)


POD = """
apiVersion: v1
kind: Pod
metadata: {name: once}
spec:
  restartPolicy: Never
  containers:
  - name: main
    image: busybox
    env: [{name: GREETING, value: hello}]
    command: [sh, -c, "echo $GREETING; exit 3"]
"""


def test_a_pod_without_restarts_ends_with_its_exit_code(embedded: EmbeddedLfgpods) -> None:
    assert kubectl(embedded, "apply", "-f", "-", stdin=POD).stdout == b"pod/once created\n"
    assert eventually(lambda: get(embedded, "pod/once")["status"]["phase"] == "Failed")
    status = get(embedded, "pod/once")["status"]["containerStatuses"][0]
    assert status["state"]["terminated"]["exitCode"] == 3
    assert kubectl(embedded, "logs", "once").stdout == b"hello\n"
    refused = kubectl(embedded, "exec", "once", "--", "true")
    assert b"cannot exec into a container in a completed pod" in refused.stderr
    assert kubectl(embedded, "apply", "-f", "-", stdin=POD).stdout == b"pod/once unchanged\n"
    assert kubectl(embedded, "delete", "pod/once").exit_code == 0


def test_a_missing_command_causes_a_crash_loop(embedded: EmbeddedLfgpods) -> None:
    broken = POD.replace("Never", "Always").replace("[sh, -c", "[no-such-program, -c")
    kubectl(embedded, "apply", "-f", "-", stdin=broken)

    def reason() -> str:
        state = get(embedded, "pod/once")["status"].get("containerStatuses", [{"state": {}}])[0]["state"]
        return str(state.get("waiting", {}).get("reason", ""))

    assert eventually(lambda: reason() == "CrashLoopBackOff")


def test_a_pod_that_requests_more_than_the_machine_has_stays_pending(embedded: EmbeddedLfgpods) -> None:
    large = POD.replace("image: busybox", "image: busybox\n    resources: {requests: {memory: 900Ti}}")
    kubectl(embedded, "apply", "-f", "-", stdin=large)
    conditions = eventually(lambda: get(embedded, "pod/once")["status"].get("conditions"))
    assert conditions[0]["reason"] == "Unschedulable"
    assert conditions[0]["message"] == "0/1 nodes are available: 1 Insufficient memory."


def test_raw_lists_come_in_pages(embedded: EmbeddedLfgpods) -> None:
    for name in ("a", "b", "c"):
        namespace = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        kubectl(embedded, "apply", "--server-side", "-f", "-", stdin=namespace)
    first = json.loads(kubectl(embedded, "get", "--raw", "/api/v1/namespaces?limit=3").stdout)
    assert [item["metadata"]["name"] for item in first["items"]] == ["a", "b", "c"]
    assert first["metadata"]["remainingItemCount"] == 1
    rest = kubectl(embedded, "get", "--raw", f"/api/v1/namespaces?limit=3&continue={first['metadata']['continue']}")
    assert [item["metadata"]["name"] for item in json.loads(rest.stdout)["items"]] == ["default"]


def test_a_terminating_namespace_accepts_no_new_objects(embedded: EmbeddedLfgpods) -> None:
    from lfgpods.hosts.embedded import Faults

    namespace = '{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}'
    kubectl(embedded, "apply", "--server-side", "-f", "-", stdin=namespace)
    embedded.host.faults = Faults(namespace_stuck=True)
    kubectl(embedded, "delete", "namespace/a", "--wait=false")
    again = kubectl(embedded, "apply", "--server-side", "-f", "-", stdin=namespace)
    assert again.exit_code == 0
    assert again.stderr == b"Warning: Detected changes to resource a which is currently being deleted.\n"
    pod = kubectl(embedded, "apply", "-n", "a", "-f", "-", stdin=POD)
    assert pod.exit_code == 1
    assert b'pods "once" is forbidden: unable to create new content in namespace a' in pod.stderr


@pytest.mark.parametrize(
    ("stdin", "words"),
    [
        ("{bad", "error: error parsing STDIN: "),
        ("a: [", "error: error parsing STDIN: "),
        ("7", "error: error parsing STDIN: "),
        ('{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}', "no matches for kind"),
        ('{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}', "spec.containers: Required value"),
        ('{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "A_b"}}', "RFC 1123 label"),
    ],
)
def test_apply_refuses_invalid_objects(embedded: EmbeddedLfgpods, stdin: str, words: str) -> None:
    refused = kubectl(embedded, "apply", "-f", "-", stdin=stdin)
    assert refused.exit_code == 1
    assert words in refused.stderr.decode()


def test_other_commands_run_on_this_machine(embedded: EmbeddedLfgpods) -> None:
    assert run(embedded.host, ("sh", "-c", 'echo "$0"; exit 4', "kubectl")).stdout == b"kubectl\n"
    assert run(embedded.host, ("kubectl", "frobnicate")).exit_code == 1


CLAIMED = """
apiVersion: v1
kind: PersistentVolume
metadata: {{name: x-pv}}
spec:
  storageClassName: manual
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  claimRef: {{namespace: default, name: x-pvc}}
  hostPath: {{path: {folder}, type: Directory}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: x-pvc}}
spec:
  storageClassName: manual
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 1Gi}}}}
---
apiVersion: v1
kind: Pod
metadata: {{name: x}}
spec:
  runtimeClassName: gvisor
  securityContext: {{runAsNonRoot: true, runAsUser: 1000, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
  - name: main
    image: busybox
    command: [sleep, "100"]
    securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
    volumeMounts: [{{name: data, mountPath: /workspace}}]
  volumes:
  - name: data
    persistentVolumeClaim: {{claimName: x-pvc}}
"""


def test_a_pod_waits_for_the_missing_folder_of_its_volume(embedded: EmbeddedLfgpods, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    kubectl(embedded, "apply", "--server-side", "-f", "-", stdin=CLAIMED.format(folder=folder))

    def mounts() -> Any:
        return get(embedded, "events", "--field-selector", "reason=FailedMount")["items"]

    assert eventually(mounts)
    assert [(event["type"], event["message"]) for event in mounts()] == [
        (
            "Warning",
            f'MountVolume.SetUp failed for volume "x-pv" : hostPath type check failed: {folder} is not a directory',
        )
    ]
    status = get(embedded, "pod/x")["status"]
    assert status["phase"] == "Pending"
    assert status["containerStatuses"][0]["state"] == {"waiting": {"reason": "ContainerCreating"}}
    folder.mkdir()
    assert eventually(lambda: get(embedded, "pod/x")["status"]["phase"] == "Running")


def test_the_security_context_of_a_pod_is_stored_and_has_no_effect(embedded: EmbeddedLfgpods, tmp_path: Path) -> None:
    kubectl(embedded, "apply", "--server-side", "-f", "-", stdin=CLAIMED.format(folder=tmp_path))
    assert eventually(lambda: get(embedded, "pod/x")["status"]["phase"] == "Running")
    spec = get(embedded, "pod/x")["spec"]
    assert spec["runtimeClassName"] == "gvisor"
    assert spec["securityContext"]["runAsUser"] == 1000
    assert spec["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}
