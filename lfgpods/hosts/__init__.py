"""Where kubectl runs: on another machine over SSH, on this one, or on the embedded stand-in.

Commands in, bytes out. Nothing here knows what Kubernetes is, but the stand-in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lfgpods.hosts.base import Host

if TYPE_CHECKING:
    from lfgpods.core.settings import Settings


def connect(settings: Settings) -> Host:
    """The host that the settings name; it connects with its first command."""
    kind = settings.require_host()
    if kind == "ssh":
        from lfgpods.hosts.ssh import SshHost

        return SshHost(settings.require_ssh(), access_host=settings.access_host, context=settings.context)
    if kind == "embedded":
        from lfgpods.hosts.embedded import EmbeddedHost

        return EmbeddedHost(settings.embedded_folder, access_host=settings.access_host, kubectl=settings.kubectl)
    from lfgpods.hosts.local import LocalHost

    return LocalHost(access_host=settings.access_host, context=settings.context)
