"""A cluster of which there is nothing but a kubeconfig: no SSH, no folder, and no right but those of docs/rbac.yaml."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfgpods.naming import Owner, names_of
from tests.cluster import Cluster, provisioner
from tests.cluster.certificates import API_SERVER, AUTHORITY
from tests.cluster.errors import ClusterError
from tests.cluster.paths import HOST_BIN
from tests.conftest import RUN
from tests.lab import Images, Lab
from tests.waiting import eventually

pytestmark = pytest.mark.real

RIGHTS = Path(__file__).parents[2] / "docs" / "rbac.yaml"
NO_SUCH_POD = 3


def kubeconfig(cluster: Cluster, path: Path) -> Path:
    """A kubeconfig with which nothing can be done but as the service account of docs/rbac.yaml."""

    def token() -> str:
        secrets = json.loads(cluster.kubectl("get", "secrets", "-n", "lfgpods", "-o", "json"))["items"]
        tokens = [one["data"]["token"] for one in secrets if one["metadata"]["name"].startswith("lfgpods-token")]
        return base64.b64decode(tokens[0]).decode() if tokens else ""

    user = {"token": eventually(token)}
    place = {"server": API_SERVER, "certificate-authority": str(AUTHORITY)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "managed", "cluster": place}],
        "users": [{"name": "lfgpods", "user": user}],
        "contexts": [{"name": "managed", "context": {"cluster": "managed", "user": "lfgpods"}}],
        "current-context": "managed",
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def managed(cluster: Cluster | None, tmp_path: Path) -> Iterator[Lab]:
    """The cluster as seen by one who has its kubeconfig, and an empty machine."""
    if cluster is None:
        pytest.skip("the rights of a host of one's own are not for tests to change")
    cluster.kubectl("apply", "-f", str(RIGHTS))
    command = f"{HOST_BIN / 'kubectl'} --kubeconfig {kubeconfig(cluster, tmp_path / 'kubeconfig')}"
    environment = {
        "LFGPODS_HOST": "local",
        "LFGPODS_KUBECTL": command,
        "LFGPODS_STORAGE_CLASS": provisioner.IMMEDIATE,
        "LFGPODS_VOLUME_ROOT": str(tmp_path / "never" / "made"),
        "LFGPODS_IMAGE": Images().small,
        "LFGPODS_DATABASE": str(tmp_path / "lfgpods.db"),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "HOME": str(tmp_path),
    }
    with provisioner.running():
        yield Lab(environment, tmp_path, cluster)
    cluster.kubectl("delete", "-f", str(RIGHTS))


@pytest.fixture
def owner(managed: Lab) -> Iterator[Owner]:
    new = Owner.project(f"kubeconfig-{RUN}")
    yield new
    purged = managed.lfgpods("delete", "--project-id", new.id, "--purge", "--yes")
    assert purged.returncode in (0, NO_SUCH_POD), purged.stderr


def _listed(text: str, owner: Owner) -> str:
    return text if f"project/{owner.id}" in text else ""


def test_the_main_job_with_a_kubeconfig_and_no_more_rights_than_it_needs(managed: Lab, owner: Owner) -> None:
    namespace = names_of(owner).namespace
    who = ("--project-id", owner.id)

    def lfgpods(*argv: str, code: int = 0) -> str:
        done = managed.lfgpods(*argv)
        assert done.returncode == code, (argv, done.stdout, done.stderr)
        return done.stdout.decode() + done.stderr.decode()

    assert managed.cluster is not None
    for verb, what in (("list", "nodes"), ("list", "secrets"), ("create", "pods"), ("delete", "persistentvolumes")):
        with pytest.raises(ClusterError, match="exited with 1"):
            managed.cluster.kubectl("auth", "can-i", verb, what, "-A", "--as=system:serviceaccount:lfgpods:lfgpods")

    lfgpods("create", *who)
    lfgpods("exec", *who, "-c", "echo precious >kept")
    lfgpods("create", *who)
    lfgpods("delete", *who)
    lfgpods("create", *who, "--memory", "128Mi")
    assert "precious" in lfgpods("exec", *who, "-c", "cat kept")
    lfgpods("create", *who, "--memory", "256Mi", "--update")
    assert namespace in lfgpods("list")
    assert "running" in lfgpods("status", *who)

    managed.cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    assert "precious" not in lfgpods("create", *who)
    assert "precious" in lfgpods("exec", *who, "-c", "cat kept")
    Path(managed.environment["LFGPODS_DATABASE"]).unlink()
    assert " added" in lfgpods("sync")
    lfgpods("delete", *who)
    # Nothing is applied: this cluster may have other guests.
    assert namespace not in lfgpods("gc")
    assert f"project/{owner.id}" in eventually(lambda: _listed(lfgpods("gc", "--purge-older-than", "1s"), owner))
    lfgpods("delete", *who, "--purge", "--yes")
    lfgpods("status", *who, code=NO_SUCH_POD)
    lfgpods("create", *who, "--storage-class", "nosuch", code=5)
    assert not (managed.folder / "never").exists()
    assert namespace not in managed.cluster.kubectl("get", "persistentvolumes,namespaces", "-o", "yaml")
