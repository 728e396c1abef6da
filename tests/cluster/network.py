"""The network namespace that makes this machine's Kubernetes a remote host with an address of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.cluster.packages import run

NAMESPACE = "lfgpods"
NAMESPACE_FILE = Path("/var/run/netns") / NAMESPACE
MACHINE_LINK = "lfgpods0"
MACHINE_ADDRESS = "10.99.0.1"
HOST_ADDRESS = "10.99.0.2"
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"


def inside(*argv: str) -> list[str]:
    """ARGV such that it runs in the host's network; the pid stays the caller's (nsenter only execs)."""
    return ["nsenter", f"--net={NAMESPACE_FILE}", *argv]


def exists() -> bool:
    """Whether the namespace is there; a file without a namespace behind it does not count."""
    return os.path.ismount(NAMESPACE_FILE)


def create() -> None:
    """Make the namespace and its link to the machine. There is no way out to anywhere else."""
    run("ip", "netns", "add", NAMESPACE)
    run("ip", "link", "add", MACHINE_LINK, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
    run("ip", "address", "add", f"{MACHINE_ADDRESS}/24", "dev", MACHINE_LINK)
    connect()
    for command in (
        "link set lo up",
        f"address add {HOST_ADDRESS}/24 dev eth0",
        "link set eth0 up",
        # Only so that the host's own packets to a Service are not refused before kube-proxy's rules see them.
        f"route add {SERVICE_CIDR} via {MACHINE_ADDRESS}",
    ):
        run("ip", "-netns", NAMESPACE, *command.split())
    run(*inside("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"))
    # There is no DNS server. Refused, a lookup fails at once; unanswered, it would cost ten seconds.
    run(*inside("iptables", "--wait", "--append", "FORWARD", "--destination", DNS_ADDRESS, "--jump", "REJECT"))


def connect() -> None:
    """Set the link up, in case a test cut it."""
    run("ip", "link", "set", MACHINE_LINK, "up")


def delete() -> None:
    """Remove link and namespace, whatever is there of them."""
    for command in (["ip", "link", "delete", MACHINE_LINK], ["ip", "netns", "delete", NAMESPACE]):
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    NAMESPACE_FILE.unlink(missing_ok=True)
