"""What a create costs, what many callers get, and what is somebody else's; the contract has the other recoveries."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lfgpods import Command, KubernetesError, PodManager, PodNotFoundError, Request
from lfgpods.core.owners import Names, Owner
from lfgpods.hosts.base import Process
from lfgpods.hosts.ssh import SshHost
from lfgpods.kube.labels import INSTANCE, RESYNCED_AT
from tests.e2e.proxy import Proxy
from tests.lab import Lab
from tests.waiting import eventually

pytestmark = pytest.mark.real


class CountingHost(SshHost):
    """Counts the remote commands, but not those that make a node look again at a pod that is late to start."""

    commands = 0

    def open(self, argv: Sequence[str], **how: Any) -> Process:  # type: ignore[override]
        self.commands += not any(RESYNCED_AT in word for word in argv)
        return super().open(argv, **how)


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


def test_many_callers_at_once_get_one_pod(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    owner = new_owner("wanted")

    def create(_: int) -> str:
        done = lab.lfgpods("create", "--project-id", owner.id, "-o", "json")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["pod_name"])

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(create, range(4)))) == 1
    namespace = owner.names.namespace
    assert len(lab.kubectl("get", "pods", "-n", namespace, "-o", "name").splitlines()) == 1


def test_a_repeated_delete_changes_nothing_and_a_purge_spares_other_owners(
    lab: Lab, new_owner: Callable[[str], Owner]
) -> None:
    owner, other = new_owner("mine"), new_owner("yours")
    names = owner.names
    with lab.manager() as manager:
        with pytest.raises(PodNotFoundError):
            manager.delete(owner)
        lab.kubectl("create", "namespace", names.namespace)
        lab.kubectl("label", "namespace", names.namespace, "app.kubernetes.io/managed-by=lfgpods",
                    "lfgpods.io/owner-kind=project", f"{INSTANCE}={lab.settings().instance}")  # fmt: skip
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
      terminationGracePeriodSeconds: 2
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


def test_a_pod_of_lfgs_first_manager_is_adopted_with_its_data(lab: Lab, adopted: Owner, tmp_path: Path) -> None:
    owner = adopted
    names: Names = owner.names
    root = lab.settings().volume_root
    text = FIRST_MANAGER.format(ns=names.namespace, root=root, image=lab.images.small)
    made = lab.on_host("sh", "-c", 'mkdir -p -m 700 "$1" && mkdir -p "$1/$2" && chmod 777 "$1/$2" && echo old > "$1/$2/kept" && '
                       'printf %s "$3" | kubectl apply -f -', "sh", root, names.namespace, text)  # fmt: skip
    assert made.exit_code == 0, made.stderr
    # Its objects carry no label, so they belong to the installation that has no name.
    with lab.manager(LFGPODS_INSTANCE="", LFGPODS_DATABASE=str(tmp_path / "lfgpods.db")) as manager:
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


@pytest.fixture
def adopted(lab: Lab, new_owner: Callable[[str], Owner]) -> Iterator[Owner]:
    """An owner whose objects no label marks as this run's, so that they are removed by name."""
    owner = new_owner("adopted")
    yield owner
    names = owner.names
    left = (f"namespace/{names.namespace}", f"persistentvolume/{names.volume}")
    lab.kubectl("delete", *left, "--ignore-not-found", "--wait=false")


def test_status_repairs_the_store(lab: Lab, new_owner: Callable[[str], Owner]) -> None:
    owner = new_owner("righted")
    with lab.manager() as manager:
        manager.ensure(owner)
        names = owner.names
        lab.kubectl("delete", f"deployment/{names.deployment}", "-n", names.namespace)
        assert manager.status(owner).status == "deleted"
        manager.delete(owner, purge=True)
        with pytest.raises(PodNotFoundError):
            manager.status(owner)
        assert owner not in [pod.owner for pod in manager.list()]
