"""A stand-in for a Kubernetes host that needs no cluster, no root and no network.

`EmbeddedHost` answers the kubectl commands that lfgpods runs, with kubectl's output, exit codes and error texts. Its
objects are in an SQLite file that several processes can share. A pod is a bubblewrap sandbox with this machine's
programs; without bubblewrap, it is a plain process in the folder of its volume. There is no daemon: the controllers
run at each access. `Faults` injects faults for tests.
"""

from __future__ import annotations

from lfgpods.hosts.embedded.cluster.faults import Faults
from lfgpods.hosts.embedded.host import EmbeddedHost

__all__ = ["EmbeddedHost", "Faults"]
