"""Whether this machine can run the cluster at all. Importing and asking work anywhere."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_NEEDED = {
    "CAP_NET_ADMIN": 12,
    "CAP_SYS_CHROOT": 18,
    "CAP_SYS_PTRACE": 19,
    "CAP_SYS_ADMIN": 21,
    "CAP_MKNOD": 27,
}
_HIERARCHIES = ("cpu", "cpuset", "memory", "devices", "freezer", "pids")


def _missing_capability() -> str | None:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            return next((name for name, bit in _NEEDED.items() if not held >> bit & 1), None)
    return None


def unsupported() -> str | None:
    """Why this machine can't run the test cluster, or None if it can."""
    if platform.system() != "Linux":
        return f"the test cluster needs Debian 12, this is {platform.system()}"
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    if (release.get("ID"), release.get("VERSION_ID")) != ("debian", "12"):
        return f"the test cluster needs Debian 12, this is {release.get('PRETTY_NAME', 'something else')}"
    if os.geteuid() != 0:
        return "the test cluster needs root"
    capability = _missing_capability()
    if capability:
        return f"the test cluster needs {capability}, which this root lacks"
    absent = [name for name in _HIERARCHIES if not Path("/sys/fs/cgroup", name).is_dir()]
    if absent:
        return f"the test cluster needs version 1 control groups; not mounted: {', '.join(absent)}"
    return None
