"""A host over SSH. The only package that imports Fabric and paramiko, and the only one that handles their errors."""

from __future__ import annotations

from lfgpods.hosts.ssh.host import SshHost

__all__ = ["SshHost"]
