"""The test cluster for a user with only a kubeconfig: no SSH, no folder, the rights of docs/rbac.yaml."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster import Cluster, provisioner
from tests.cluster.certificates import API_SERVER, AUTHORITY
from tests.cluster.paths import HOST_BIN
from tests.lab import Images
from tests.scope import Scope, register

RIGHTS = Path(__file__).parents[1] / "docs" / "rbac.yaml"


def managed(cluster: Cluster, folder: Path, name: str) -> dict[str, str]:
    """Return the environment for lfgpods in the scope NAME. Needs the account of docs/rbac.yaml.

    lfgpods writes its local files to FOLDER. The volume root cannot exist. The locks are in the namespace that
    docs/rbac.yaml names.
    """
    own = Scope(name)
    register(own.instance)
    kubectl = f"{HOST_BIN / 'kubectl'} --kubeconfig {_kubeconfig(cluster, folder)} --cache-dir {folder / 'cache'}"
    return {
        "LFGPODS_HOST": "local",
        "LFGPODS_INSTANCE": own.instance,
        "LFGPODS_KUBECTL": kubectl,
        "LFGPODS_STORAGE_CLASS": provisioner.IMMEDIATE,
        "LFGPODS_VOLUME_ROOT": str(folder / "never" / "made"),
        "LFGPODS_IMAGE": Images().small,
        "LFGPODS_START_GRACE": "1",
        "LFGPODS_DATABASE": str(folder / "lfgpods.db"),
        "XDG_DATA_HOME": str(folder / "data"),
    }


def _kubeconfig(cluster: Cluster, folder: Path) -> Path:
    """Write a kubeconfig for the service account of docs/rbac.yaml."""
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
