"""The test cluster as one sees it who has nothing but a kubeconfig: no SSH, no folder, the rights of docs/rbac.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster import Cluster, provisioner
from tests.cluster.certificates import API_SERVER, AUTHORITY
from tests.cluster.paths import HOST_BIN
from tests.lab import Images

RIGHTS = Path(__file__).parents[1] / "docs" / "rbac.yaml"


@contextmanager
def managed(cluster: Cluster, folder: Path) -> Iterator[dict[str, str]]:
    """The environment that leads lfgpods there, as long as the rights are given and volumes are provisioned.

    What it writes, it writes to FOLDER; the volume root is one that cannot be there.
    """
    cluster.kubectl("apply", "-f", str(RIGHTS))
    try:
        with provisioner.running():
            kubectl = (
                f"{HOST_BIN / 'kubectl'} --kubeconfig {_kubeconfig(cluster, folder)} --cache-dir {folder / 'cache'}"
            )
            yield {
                "LFGPODS_HOST": "local",
                "LFGPODS_KUBECTL": kubectl,
                "LFGPODS_STORAGE_CLASS": provisioner.IMMEDIATE,
                "LFGPODS_VOLUME_ROOT": str(folder / "never" / "made"),
                "LFGPODS_IMAGE": Images().small,
                "LFGPODS_DATABASE": str(folder / "lfgpods.db"),
                "XDG_DATA_HOME": str(folder / "data"),
            }
    finally:
        cluster.kubectl("delete", "-f", str(RIGHTS))


def _kubeconfig(cluster: Cluster, folder: Path) -> Path:
    """A kubeconfig with which nothing can be done but as the service account of docs/rbac.yaml."""

    token = cluster.kubectl("create", "token", "lfgpods", "--namespace", "lfgpods", "--duration", "12h").strip()
    place = {"server": API_SERVER, "certificate-authority": str(AUTHORITY)}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "managed", "cluster": place}],
        "users": [{"name": "lfgpods", "user": {"token": token}}],
        "contexts": [{"name": "managed", "context": {"cluster": "managed", "user": "lfgpods"}}],
        "current-context": "managed",
    }
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(json.dumps(document))
    return path
