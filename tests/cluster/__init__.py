"""A real Kubernetes with an SSH server on this machine, for the end-to-end tests.

LFGPODS_TEST_KUBERNETES names its release: 1.37 unless it is set, or 1.34, the oldest that is promised.

Importing it is cheap and works anywhere; `unsupported()` says why a machine can't run it.
"""

from __future__ import annotations

from tests.cluster.accounts import (
    KEY,
    KEY_WITH_PASSPHRASE,
    KNOWN_HOSTS,
    PASSPHRASE,
    RSA_KEY,
    UNAUTHORIZED_KEY,
)
from tests.cluster.cluster import Cluster
from tests.cluster.configuration import ROOT_ACCOUNT, USER_ACCOUNT
from tests.cluster.errors import ClusterError
from tests.cluster.images import BUSYBOX, BUSYBOX_USER, CRASH, DEBIAN, DEBIAN_USER, NOSHELL
from tests.cluster.machine import unsupported
from tests.cluster.network import HOST_ADDRESS, MACHINE_ADDRESS
from tests.cluster.programs import SSH_PORT

__all__ = [
    "BUSYBOX",
    "BUSYBOX_USER",
    "CRASH",
    "DEBIAN",
    "DEBIAN_USER",
    "HOST_ADDRESS",
    "KEY",
    "KEY_WITH_PASSPHRASE",
    "KNOWN_HOSTS",
    "MACHINE_ADDRESS",
    "NOSHELL",
    "PASSPHRASE",
    "ROOT_ACCOUNT",
    "RSA_KEY",
    "SSH_PORT",
    "UNAUTHORIZED_KEY",
    "USER_ACCOUNT",
    "Cluster",
    "ClusterError",
    "unsupported",
]
