"""ensure and delete from every state that a pod can be in, and with others at work at the same time."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from lfgpods import Command, KubernetesError, PodManager, PodNotFoundError, PodNotRunningError, Request
from lfgpods.core.owners import Names, Owner, names_of
from lfgpods.hosts.base import Process
from lfgpods.hosts.ssh import SshHost
from tests.e2e.proxy import Proxy
from tests.lab import Lab
from tests.waiting import eventually

pytestmark = pytest.mark.real


class CountingHost(SshHost):
    """Counts the remote commands."""

    commands = 0

    def open(self, argv: Sequence[str], **how: Any) -> Process:  # type: ignore[override]
        self.commands += 1
        return super().open(argv, **how)


def write(manager: PodManager, owner: Owner, text: str) -> None:
    assert manager.exec(owner, Command(f"echo {text} > kept && sync"))


def kept(manager: PodManager, owner: Owner) -> str:
    return manager.exec(owner, Command("cat kept")).stdout.decode().strip()


def test_a_create_costs_four_remote_commands_and_one_connection_and_two_when_it_runs(
    lab: Lab, new_owner: Callable[[str], Owner], proxy: Proxy
) -> None:
    owner = new_owner("counted")
    settings = lab.settings(**proxy.settings)
    host = CountingHost(settings.require_ssh())
    with PodManager(settings, host=host) as manager:
        first = manager.ensure(owner)
        assert (host.commands <= 4, proxy.connections) == (True, 1)
        host.commands = 0
        again = manager.ensure(owner)
        assert (host.commands <= 2, proxy.connections) == (True, 1)
    assert (again.pod_name, again.access_url) == (first.pod_name, first.access_url)
    assert again.differences == ()


def test_a_killed_a_stopped_and_a_deleted_pod_come_back_with_their_files(
    lab: Lab, new_owner: Callable[[str], Owner]
) -> None:
    owner = new_owner("revived")
    names = names_of(owner)
    with lab.manager() as manager:
        first = manager.ensure(owner)
        write(manager, owner, "precious")

        lab.kubectl("delete", f"pod/{first.pod_name}", "-n", names.namespace, "--wait=false")
        second = manager.ensure(owner)
        assert (second.status, kept(manager, owner)) == ("running", "precious")

        lab.kubectl("scale", f"deployment/{names.deployment}", "--replicas=0", "-n", names.namespace)
        eventually(lambda: manager.status(owner).status == "stopped")
        with pytest.raises(PodNotRunningError, match="stopped"):
            manager.exec(owner, Command("true"))
        assert manager.ensure(owner).status == "running"
        assert kept(manager, owner) == "precious"

        manager.delete(owner)
        manager.delete(owner)
        assert manager.status(owner).status == "deleted"
        with pytest.raises(PodNotRunningError, match="deleted"):
            manager.exec(owner, Command("true"))
        assert manager.ensure(owner).image == first.image
        assert kept(manager, owner) == "precious"


def test_a_lost_namespace_and_a_lost_volume_object_cost_no_file(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    owner = new_owner("lost")
    names = names_of(owner)
    with lab.manager() as manager:
        manager.ensure(owner)
        write(manager, owner, "precious")
        lab.kubectl("delete", f"namespace/{names.namespace}", "--wait=false")
        assert manager.ensure(owner).status == "running"
        assert kept(manager, owner) == "precious"

        manager.delete(owner)
        lab.kubectl("delete", f"namespace/{names.namespace}", f"persistentvolume/{names.volume}")
        assert manager.ensure(owner).status == "running"
        assert kept(manager, owner) == "precious"


def test_a_difference_is_said_and_changed_only_with_update(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    owner = new_owner("differs")
    with lab.manager() as manager:
        first = manager.ensure(owner, Request(memory="128Mi", ports=(8080,)))
        write(manager, owner, "precious")
        left = manager.ensure(owner, Request(memory="256Mi", ports=(8080, 3000), storage_size="9Gi"))
        assert (left.pod_name, left.resource_limits["memory"]) == (first.pod_name, "128Mi")
        assert left.differences == (
            "memory is 128Mi, not 256Mi",
            "storage size is 1Gi, not 9Gi",
            "ports are 8080, not 8080 3000",
        )
        changed = manager.ensure(owner, Request(memory="256Mi", ports=(8080, 3000)), update=True)
        assert (changed.resource_limits["memory"], [p.port for p in changed.ports]) == ("256Mi", [8080, 3000])
        assert changed.differences == ()
        assert kept(manager, owner) == "precious"
        limit = manager.exec(
            owner, Command("cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max")
        )
        assert limit.stdout.split()[0] == str(256 << 20).encode()
        unchanged = manager.ensure(owner, Request(storage_size="9Gi"), update=True)
        assert unchanged.differences == ("storage size is 1Gi and cannot be changed to 9Gi",)


def test_many_callers_at_once_get_one_pod(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    owner = new_owner("wanted")

    def create(_: int) -> str:
        done = lab.lfgpods("create", "--project-id", owner.id, "-o", "json")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["pod_name"])

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(create, range(4)))) == 1
    namespace = names_of(owner).namespace
    assert len(lab.kubectl("get", "pods", "-n", namespace, "-o", "name").splitlines()) == 1


def test_nothing_is_deleted_twice_and_nobody_elses_is_purged(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    owner, other = new_owner("mine"), new_owner("yours")
    names = names_of(owner)
    with lab.manager() as manager:
        with pytest.raises(PodNotFoundError):
            manager.delete(owner)
        lab.kubectl("create", "namespace", names.namespace)
        lab.kubectl("label", "namespace", names.namespace, "app.kubernetes.io/managed-by=lfgpods",
                    "lfgpods.io/owner-kind=project")  # fmt: skip
        lab.kubectl("annotate", "namespace", names.namespace, f"lfgpods.io/owner-id={other.id}")
        for use in (manager.ensure, manager.status, lambda who: manager.delete(who, purge=True)):
            with pytest.raises(KubernetesError) as refused:
                use(owner)
            assert refused.value.code == "not_the_owner"
        lab.kubectl("annotate", "--overwrite", "namespace", names.namespace, f"lfgpods.io/owner-id={owner.id}")


FIRST_MANAGER = """
apiVersion: v1
kind: Namespace
metadata: {{name: {ns}}}
---
apiVersion: v1
kind: PersistentVolume
metadata: {{name: {ns}-pv, labels: {{type: local, pvname: {ns}-pv}}}}
spec:
  storageClassName: manual
  capacity: {{storage: 1Gi}}
  accessModes: [ReadWriteOnce]
  hostPath: {{path: {root}/{ns}}}
  persistentVolumeReclaimPolicy: Retain
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {ns}-pvc, namespace: {ns}}}
spec:
  storageClassName: manual
  accessModes: [ReadWriteOnce]
  resources: {{requests: {{storage: 1Gi}}}}
  volumeName: {ns}-pv
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {ns}-dep, namespace: {ns}}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: {ns}}}}}
  template:
    metadata: {{labels: {{app: {ns}}}}}
    spec:
      containers:
      - name: dev-environment
        image: {image}
        imagePullPolicy: IfNotPresent
        command: [sleep, infinity]
        resources: {{limits: {{memory: 100Mi, cpu: 100m}}, requests: {{memory: 50Mi, cpu: 50m}}}}
        volumeMounts: [{{name: user-data, mountPath: /workspace}}]
      volumes: [{{name: user-data, persistentVolumeClaim: {{claimName: {ns}-pvc}}}}]
---
apiVersion: v1
kind: Service
metadata: {{name: {ns}-service, namespace: {ns}}}
spec:
  type: NodePort
  ports: [{{port: 8080, targetPort: 8080, name: http}}]
  selector: {{app: {ns}}}
"""


def test_what_the_first_manager_made_is_adopted_with_its_data(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    owner = new_owner("adopted")
    names: Names = names_of(owner)
    root = lab.settings().volume_root
    text = FIRST_MANAGER.format(ns=names.namespace, root=root, image=lab.images.small)
    made = lab.on_host("sh", "-c", 'mkdir -p -m 700 "$1" && mkdir -p "$1/$2" && chmod 777 "$1/$2" && echo old > "$1/$2/kept" && '
                       'printf %s "$3" | kubectl apply -f -', "sh", root, names.namespace, text)  # fmt: skip
    assert made.exit_code == 0, made.stderr
    with lab.manager() as manager:
        eventually(lambda: manager.status(owner).status == "running", within=60)
        found = manager.ensure(owner)
        assert (found.resource_limits["memory"], kept(manager, owner)) == ("100Mi", "old")
        assert [pod.status for pod in manager.list() if pod.owner == owner] == ["running"]

        changed = manager.ensure(owner, Request(memory="64Mi"), update=True)
        assert (changed.resource_limits["memory"], kept(manager, owner)) == ("64Mi", "old")
        assert changed.access_url == found.access_url
        manager.delete(owner)
        manager.ensure(owner)
        assert kept(manager, owner) == "old"
        manager.delete(owner, purge=True)
    assert lab.on_host("test", "-e", names.folder(root)).exit_code == 1


def test_status_puts_the_store_right(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    owner = new_owner("righted")
    with lab.manager() as manager:
        manager.ensure(owner)
        names = names_of(owner)
        lab.kubectl("delete", f"deployment/{names.deployment}", "-n", names.namespace)
        assert manager.status(owner).status == "deleted"
        manager.delete(owner, purge=True)
        with pytest.raises(PodNotFoundError):
            manager.status(owner)
        assert owner not in [pod.owner for pod in manager.list()]
