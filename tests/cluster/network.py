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
NODE_PODS = "10.244.0.0/24"
"""The addresses of the pods on the first node."""
SERVICE_CIDR = "10.96.0.0/16"
SERVICE_ADDRESS = "10.96.0.1"
DNS_ADDRESS = "10.96.0.10"
POLICY_QUEUE = 100
"""The queue of the kernel in which a pod's new connections wait for the word of kube-network-policies."""


def inside(*argv: str, namespace: Path = NAMESPACE_FILE) -> list[str]:
    """ARGV such that it runs in the host's network; the pid stays the caller's (nsenter only execs)."""
    return ["nsenter", f"--net={namespace}", *argv]


def exists(namespace: Path = NAMESPACE_FILE) -> bool:
    """Whether the namespace is there; a file without a namespace behind it does not count."""
    return os.path.ismount(namespace)


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
    _connect_pods(NAMESPACE_FILE)


def _connect_pods(namespace: Path) -> None:
    """Let kube-network-policies decide about each new connection from or to a pod of the node in NAMESPACE.

    Where nothing listens at the queue no such connection is made. What the node itself sends is never asked about.
    """
    for table, rule in (
        # Among themselves the pods of all nodes see each other's addresses, as policies need them.
        ("nat", f"--source {POD_CIDR} ! --destination {POD_CIDR} --jump MASQUERADE"),
        ("mangle", "--match owner --socket-exists --jump RETURN"),
        ("mangle", "--match conntrack --ctstate ESTABLISHED,RELATED --jump RETURN"),
        ("mangle", f"--source {POD_CIDR} --jump NFQUEUE --queue-num {POLICY_QUEUE}"),
        ("mangle", f"--destination {POD_CIDR} --jump NFQUEUE --queue-num {POLICY_QUEUE}"),
    ):
        append = ("iptables", "--wait", "--table", table, "--append", "POSTROUTING")
        run(*inside(*append, *rule.split(), namespace=namespace))


def add_node(name: str, address: str, gateway: str, its_pods: str) -> None:
    """Make a namespace NAME for a second node behind a link to the first, which hands on what goes to others."""
    run("ip", "netns", "add", name)
    run("ip", "-netns", NAMESPACE, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    for command in (
        f"address add {gateway}/24 dev {name}",
        f"link set {name} up",
        f"route add {its_pods} via {address}",
    ):
        run("ip", "-netns", NAMESPACE, *command.split())
    for command in (
        "link set lo up",
        f"address add {address}/24 dev eth0",
        "link set eth0 up",
        f"route add default via {gateway}",
    ):
        run("ip", "-netns", name, *command.split())
    namespace = NAMESPACE_FILE.with_name(name)
    run(*inside("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward", namespace=namespace))
    _connect_pods(namespace)
    run("ip", "route", "add", f"{address}/32", "via", HOST_ADDRESS)


def remove_node(name: str, address: str, its_pods: str) -> None:
    """Take away what `add_node` made, whatever is there of it."""
    for command in (
        ["ip", "route", "delete", f"{address}/32"],
        ["ip", "-netns", NAMESPACE, "route", "delete", its_pods],
        ["ip", "-netns", NAMESPACE, "link", "delete", name],
        ["ip", "netns", "delete", name],
    ):
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    NAMESPACE_FILE.with_name(name).unlink(missing_ok=True)


def connect() -> None:
    """Set the link up, in case a test cut it."""
    run("ip", "link", "set", MACHINE_LINK, "up")


def delete() -> None:
    """Remove link and namespace, whatever is there of them."""
    for command in (["ip", "link", "delete", MACHINE_LINK], ["ip", "netns", "delete", NAMESPACE]):
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL, capture_output=True)
    NAMESPACE_FILE.unlink(missing_ok=True)
