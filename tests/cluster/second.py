"""A second node for the running cluster, added and taken away while the first goes on: a machine of its own, nearly.

It has its own network, containerd, kubelet, kube-proxy and sshd, and another disk at /mnt/data than the first has. What
is on a node's disk is therefore really on that node only.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.cluster import api, certificates, configuration, images, kubectl, leftovers, network, probes
from tests.cluster.accounts import KNOWN_HOSTS
from tests.cluster.errors import ClusterError
from tests.cluster.paths import STATE
from tests.cluster.processes import Process
from tests.cluster.programs import (
    CONTAINERD,
    SSH_PORT,
    Program,
    arguments,
    kubelet_arguments,
    network_policies,
    proxy_arguments,
    url_answers,
)
from tests.cluster.waiting import wait_until

NAME = "lfgpods-2"
ADDRESS = "10.99.1.2"
_GATEWAY = "10.99.1.1"
_PODS = "10.244.1.0/24"
_SUFFIX = "-2"
_NAMESPACE = network.NAMESPACE_FILE.with_name(NAME)
_HOME = STATE / NAME
_CONFIG = _HOME / "config"
_CONTAINERD_STATE = _HOME / "run"
_SOCKET = _CONTAINERD_STATE / "containerd.sock"
_KUBELET = _HOME / "kubelet"
KNOWN_HOSTS_TOO = _HOME / "known_hosts"
DATA = STATE / f"{NAME}-data"
"""What is /mnt/data on this node."""
_DISK = Path("/mnt/data")
_WITH_ITS_DISK = (
    "unshare",
    "--mount",
    "--propagation=private",
    "sh",
    "-c",
    'mount --bind "$0" "$1" && shift && exec "$@"',
)


def programs() -> Mapping[str, Program]:
    """The programs of this node by their names, in the order of starting."""
    kubeconfig = certificates.kubeconfig_of(f"kubelet{_SUFFIX}")
    kubelet = kubelet_arguments(NAME, ADDRESS, _CONFIG / "kubelet.json", kubeconfig, _KUBELET)
    found = (
        _program("containerd", arguments(CONTAINERD, config=_CONFIG / "containerd.toml"), None),
        _program("kubelet", kubelet, f"http://{ADDRESS}:10248/healthz"),
        _program("kube-proxy", proxy_arguments(NAME), f"http://{ADDRESS}:10256/healthz"),
        network_policies(NAME, _SUFFIX, _NAMESPACE),
        _program("sshd", ("/usr/sbin/sshd", "-D", "-e", "-f", str(_CONFIG / "sshd_config")), "ssh"),
    )
    return {program.process.name: program for program in found}


def _program(name: str, argv: tuple[str, ...], answers: str | None) -> Program:
    process = Process(name + _SUFFIX, (*_WITH_ITS_DISK, str(DATA), str(_DISK), *argv), _NAMESPACE)
    if answers is None:
        return Program(process, lambda: probes.accepts(_SOCKET))
    if answers == "ssh":
        return Program(process, lambda: probes.greets_as_ssh(ADDRESS, SSH_PORT))
    return Program(process, url_answers(answers))


def is_there() -> bool:
    """Whether the node is up, or something of it was left."""
    return network.exists(_NAMESPACE) or _HOME.exists()


def is_ready() -> bool:
    return all(program.ready() for program in programs().values()) and _is_ready_node()


def _is_ready_node() -> bool:
    nodes = json.loads(kubectl.run("get", "nodes", "-o", "json"))["items"]
    conditions = [c for node in nodes if node["metadata"]["name"] == NAME for c in node["status"].get("conditions", ())]
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def settings() -> dict[str, str]:
    """The environment with which lfgpods uses this node as its host; to be put over the cluster's own."""
    return {"K8S_SSH_HOST": ADDRESS, "K8S_SSH_KNOWN_HOSTS": str(KNOWN_HOSTS_TOO)}


def add() -> None:
    """Return once the node is Ready, with the small images. Raises ClusterError."""
    if is_there():
        remove()
    for folder in (_CONFIG, _CONTAINERD_STATE, DATA, _DISK):
        folder.mkdir(parents=True, exist_ok=True)
    network.add_node(NAME, ADDRESS, _GATEWAY, _PODS)
    leftovers.make_groups(NAME)
    certificates.create_node(NAME, ADDRESS, _SUFFIX)
    cni = _CONFIG / "cni"
    cni.mkdir()
    files = {
        cni / "10-lfgpods.conflist": configuration.cni(NAME, _PODS, _HOME / "cni"),
        _CONFIG / "containerd.toml": configuration.containerd(_HOME / "containerd", _CONTAINERD_STATE, _SOCKET, cni),
        _CONFIG / "kubelet.json": configuration.kubelet(f"kubelet-serving{_SUFFIX}", ADDRESS, NAME, _SOCKET, _KUBELET),
        _CONFIG / "sshd_config": configuration.sshd(ADDRESS),
        KNOWN_HOSTS_TOO: KNOWN_HOSTS.read_text().replace(network.HOST_ADDRESS, ADDRESS),
    }
    for path, text in files.items():
        path.write_text(text)
    for name, program in programs().items():
        program.process.rotate_log()
        program.process.start()
        program.wait_ready()
        if name.startswith("containerd"):
            small = next(archive.path for archive in images.archives() if archive.name == "small")
            images.import_archive(small, _SOCKET)
    if not wait_until(lambda: api.give_pods(NAME, _PODS) and _is_ready_node(), 60, 0.3):
        log = programs()[f"kubelet{_SUFFIX}"].process.log_tail()
        raise ClusterError(f"the node {NAME} is not Ready:\n{log}")


def remove() -> None:
    """Take the node away, with all that ran on it and its disk, whatever state it is in."""
    for program in reversed(list(programs().values())):
        program.process.stop(grace=0)
    leftovers.end_processes(_NAMESPACE, _SOCKET, NAME)
    _forget()
    network.remove_node(NAME, ADDRESS, _PODS)
    leftovers.unmount(_HOME)
    leftovers.remove_groups(NAME)
    leftovers.remove_files_elsewhere(_CONTAINERD_STATE, _KUBELET, NAME)
    for folder in (_HOME, DATA):
        shutil.rmtree(folder, ignore_errors=True)


def _forget() -> None:
    """Take the node and its pods out of the cluster, where there is still one."""
    here = f"--field-selector=spec.nodeName={NAME}"
    for command in (
        ("delete", "node", NAME, "--ignore-not-found"),
        ("delete", "pods", "-A", here, "--force", "--grace-period=0", "--wait=false"),
    ):
        try:
            kubectl.run(*command)
        except (ClusterError, OSError, subprocess.SubprocessError):
            return
