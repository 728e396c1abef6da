"""The main job on a cluster of which there is nothing but a kubeconfig, with no right but those of docs/rbac.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lfgpods.core.owners import Owner
from tests.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.lab import Lab
from tests.managed import managed
from tests.scope import RUN
from tests.waiting import eventually

pytestmark = pytest.mark.real

NO_SUCH_POD = 3


@pytest.fixture
def lab(cluster: Cluster | None, rights: None, provisioning: None, tmp_path: Path) -> Lab:
    """The cluster as seen by one who has its kubeconfig, and an empty machine."""
    assert cluster is not None
    return Lab({**managed(cluster, tmp_path, "kubeconfig"), "HOME": str(tmp_path)}, tmp_path, cluster)


@pytest.fixture
def owner(lab: Lab) -> Iterator[Owner]:
    new = Owner.project(f"kubeconfig-{RUN}")
    yield new
    purged = lab.lfgpods("delete", "--project-id", new.id, "--purge", "--yes")
    assert purged.returncode in (0, NO_SUCH_POD), purged.stderr


def _listed(text: str, owner: Owner) -> str:
    return text if f"project/{owner.id}" in text else ""


def test_the_main_job_with_a_kubeconfig_and_no_more_rights_than_it_needs(lab: Lab, owner: Owner) -> None:
    namespace = owner.names.namespace
    who = ("--project-id", owner.id)

    def lfgpods(*argv: str, code: int = 0) -> str:
        done = lab.lfgpods(*argv)
        assert done.returncode == code, (argv, done.stdout, done.stderr)
        return done.stdout.decode() + done.stderr.decode()

    assert lab.cluster is not None
    for verb, what in (("list", "nodes"), ("list", "secrets"), ("create", "pods"), ("delete", "persistentvolumes")):
        with pytest.raises(ClusterError, match="exited with 1"):
            lab.cluster.kubectl("auth", "can-i", verb, what, "-A", "--as=system:serviceaccount:lfgpods:lfgpods")

    lfgpods("create", *who)
    lfgpods("exec", *who, "-c", "echo precious >kept")
    lfgpods("create", *who)
    lfgpods("delete", *who)
    lfgpods("create", *who, "--memory", "128Mi")
    assert "precious" in lfgpods("exec", *who, "-c", "cat kept")
    lfgpods("create", *who, "--memory", "256Mi", "--update")
    assert namespace in lfgpods("list")
    assert "running" in lfgpods("status", *who)

    lab.cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    assert "precious" not in lfgpods("create", *who)
    assert "precious" in lfgpods("exec", *who, "-c", "cat kept")
    Path(lab.environment["LFGPODS_DATABASE"]).unlink()
    assert " added" in lfgpods("sync")
    lfgpods("delete", *who)
    # Nothing is applied: this cluster may have other guests.
    assert namespace not in lfgpods("gc")
    assert f"project/{owner.id}" in eventually(lambda: _listed(lfgpods("gc", "--purge-older-than", "1s"), owner))
    lfgpods("delete", *who, "--purge", "--yes")
    lfgpods("status", *who, code=NO_SUCH_POD)
    lfgpods("create", *who, "--storage-class", "nosuch", code=5)
    assert not (lab.folder / "never").exists()
    assert namespace not in lab.cluster.kubectl("get", "persistentvolumes,namespaces", "-o", "yaml")
