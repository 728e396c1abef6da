"""A host over SSH. Only this package imports fabric and paramiko, and only it handles their errors."""

from __future__ import annotations

from lfgpods.hosts.ssh.host import SshHost

__all__ = ["SshHost"]
