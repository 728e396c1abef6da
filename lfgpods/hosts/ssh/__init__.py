"""A host over SSH. The only package that imports fabric and paramiko, and that knows their errors."""

from __future__ import annotations

from lfgpods.hosts.ssh.host import SshHost

__all__ = ["SshHost"]
