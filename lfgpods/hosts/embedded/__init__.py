"""A stand-in for a Kubernetes host that needs neither cluster nor root nor network: kubectl's words, without kubectl.

`EmbeddedHost` answers the kubectl command lines that lfgpods sends, with kubectl's output, exit codes and error texts.
Its objects live in an SQLite file in its folder, for several processes at once; a pod is a bubblewrap sandbox of this
machine's own programs where bubblewrap works, else a plain process in its volume's folder. There is no daemon: the
controllers run whenever somebody looks. `Faults` makes things go wrong for tests.
"""

from __future__ import annotations

from lfgpods.hosts.embedded.cluster.faults import Faults
from lfgpods.hosts.embedded.host import EmbeddedHost

__all__ = ["EmbeddedHost", "Faults"]
