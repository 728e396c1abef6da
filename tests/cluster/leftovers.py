"""Ends and removes what a cluster leaves behind, however it ended: processes, mounts, control groups, files.

Only what is provably the cluster's own is touched: its namespace, its control group, its state folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.cluster import network
from tests.cluster.configuration import CGROUP, CNI_NETWORK
from tests.cluster.errors import ClusterError
from tests.cluster.paths import (
    CNI_ADDRESSES,
    CONTAINERD_ROOT,
    CONTAINERD_SOCKET,
    CONTAINERD_STATE,
    ETCD,
    KUBELET,
    PIDS,
    PKI,
    STATE,
)
from tests.cluster.processes import kill_all
from tests.cluster.waiting import wait_until

_HIERARCHIES = Path("/sys/fs/cgroup")
_DATA = (ETCD, KUBELET, CONTAINERD_ROOT, CONTAINERD_STATE, CNI_ADDRESSES, PIDS, PKI)


def _groups(name: str) -> Iterator[Path]:
    """Every control group of the cluster's pods in every hierarchy, children before their parents."""
    for hierarchy in _HIERARCHIES.iterdir():
        for folder, _, _ in os.walk(hierarchy / name, topdown=False):
            yield Path(folder)


def make_groups(name: str = CGROUP) -> None:
    """Make the control group below which a kubelet puts every pod."""
    for hierarchy in _HIERARCHIES.iterdir():
        if hierarchy.is_symlink() or not (hierarchy / "cgroup.procs").exists():
            continue
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        # A new cpuset is empty, and nothing can run in an empty one.
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (group / setting).exists():
                (group / setting).write_text((hierarchy / setting).read_text())


def _in_groups(name: str) -> Iterator[int]:
    for group in _groups(name):
        try:
            yield from map(int, (group / "cgroup.procs").read_text().split())
        except OSError:
            continue


def _is_our_shim(process: Path, socket: Path) -> bool:
    is_shim = (process / "comm").read_text().startswith("containerd-shim")
    return is_shim and str(socket).encode() in (process / "cmdline").read_bytes()


def _in_namespace(file: Path, socket: Path) -> Iterator[int]:
    """The processes in a host's network, and the shims, which stay when containerd goes."""
    try:
        namespace = os.stat(file)
    except OSError:
        namespace = None
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            own = os.stat(process / "ns" / "net")
            inside = namespace and (own.st_dev, own.st_ino) == (namespace.st_dev, namespace.st_ino)
            if inside or _is_our_shim(process, socket):
                yield int(process.name)
        except OSError:
            continue


def end_processes(
    namespace: Path = network.NAMESPACE_FILE, socket: Path = CONTAINERD_SOCKET, group: str = CGROUP
) -> None:
    """End every process of a node at once."""

    def remaining() -> set[int]:
        return {*_in_namespace(namespace, socket), *_in_groups(group)} - {os.getpid()}

    def all_gone() -> bool:
        found = remaining()
        kill_all(found)
        return not found

    if not wait_until(all_gone, 20):
        raise ClusterError(f"processes that do not end: {sorted(remaining())}")


def _mounts(below: Path) -> list[str]:
    """The mounts below a folder, the deepest first."""
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point.startswith(f"{below}/"):
            points.append(point)
    return points[::-1]


def unmount(below: Path = STATE) -> None:
    """Take every mount below a folder away."""
    # Several rounds: a mount point may carry more than one mount.
    for _ in range(4):
        points = _mounts(below)
        if not points:
            return
        subprocess.run(["umount", "--lazy", *points], check=False, stdin=subprocess.DEVNULL, capture_output=True)
    if _mounts(below):
        # Removing files through a mount that stayed could remove a volume's data.
        raise ClusterError(f"mounts that do not go: {_mounts(below)}")


def remove_groups(name: str = CGROUP) -> None:
    """Remove a kubelet's control groups once nothing is in them any more."""

    def all_gone() -> bool:
        for group in _groups(name):
            try:
                group.rmdir()
            except OSError:
                return False
        return True

    if not wait_until(all_gone, 10):
        raise ClusterError(f"control groups that do not go: {list(_groups(name))}")


def remove_files_elsewhere(state: Path = CONTAINERD_STATE, kubelet: Path = KUBELET, cni: str = CNI_NETWORK) -> None:
    """What kubelet, containerd and CNI keep at fixed places outside of the state folder."""
    tasks = state / "io.containerd.runtime.v2.task" / "k8s.io"
    for shim in tasks.glob("*/bootstrap.json"):
        Path(json.loads(shim.read_text())["address"].removeprefix("unix://")).unlink(missing_ok=True)
        for result in Path("/var/lib/cni/results").glob(f"*-{shim.parent.name}-*"):
            result.unlink(missing_ok=True)
    for result in Path("/var/lib/cni/results").glob(f"{cni}-*"):
        result.unlink(missing_ok=True)
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(kubelet):
            link.unlink(missing_ok=True)


def remove() -> None:
    """Leave nothing of a cluster but its logs, its images and the clients' SSH keys."""
    end_processes()
    unmount()
    network.delete()
    remove_groups()
    remove_files_elsewhere()
    for folder in _DATA:
        shutil.rmtree(folder, ignore_errors=True)
        if folder.exists():
            raise ClusterError(f"{folder} can't be removed")
