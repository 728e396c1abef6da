"""Where kubectl runs: on another machine over SSH, on this machine, or on the embedded stand-in.

Commands in, bytes out. Only the stand-in knows about Kubernetes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lfgpods.hosts.base import Host

if TYPE_CHECKING:
    from lfgpods.core.settings import Settings


def connect(settings: Settings) -> Host:
    """Return the host that the settings name. It connects with its first command. Raises SettingsError."""
    kind = settings.require_host()
    if kind == "ssh":
        from lfgpods.hosts.ssh import SshHost

        return SshHost(settings.require_ssh(), access_host=settings.access_host, context=settings.context)
    if kind == "embedded":
        from lfgpods.hosts.embedded import EmbeddedHost

        return EmbeddedHost(settings.embedded_folder, access_host=settings.access_host, kubectl=settings.kubectl)
    from lfgpods.hosts.local import LocalHost

    return LocalHost(access_host=settings.access_host, context=settings.context)
