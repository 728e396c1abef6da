"""Where the test cluster keeps its things: a cache that survives, and the state of the one running cluster."""

from __future__ import annotations

import os
from pathlib import Path

CACHE = Path(
    os.environ.get("LFGPODS_TEST_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "lfgpods-test-cluster"
)
STATE = Path(os.environ.get("LFGPODS_TEST_STATE") or "/var/lib/lfgpods-test-cluster")
HOST_BIN = STATE / "bin"
CLIENT = STATE / "client"
CONFIG = STATE / "config"
HOMES = STATE / "home"
LOGS = STATE / "logs"
PIDS = STATE / "pids"
PKI = STATE / "pki"

# What a cluster wrote while it ran: worthless, and in the way, once its processes are gone.
ETCD = STATE / "etcd"
KUBELET = STATE / "kubelet"
CONTAINERD_ROOT = STATE / "containerd"
CONTAINERD_STATE = STATE / "run"
CNI_ADDRESSES = STATE / "cni"

ADMIN_KUBECONFIG = PKI / "admin.kubeconfig"
CONTAINERD_SOCKET = CONTAINERD_STATE / "containerd.sock"
# One machine has one cluster, wherever its state is, so this is not in STATE.
LOCK = Path("/run/lfgpods-test-cluster.lock")
