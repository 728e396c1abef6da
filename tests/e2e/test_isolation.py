"""What keeps owners apart: who may connect to a pod, what a pod may ask for, and how much memory it gets."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from lfgpods import Command, Owner, Pod, Request
from lfgpods.hosts.base import Completed
from tests.lab import Lab
from tests.waiting import eventually

pytestmark = pytest.mark.real

SMALL = Request(memory="64Mi", memory_requests="8Mi", cpu="500m", cpu_requests="5m")
SERVE = "echo hello > index.html && httpd -p 8080 -h /workspace"


@pytest.fixture(scope="session")
def server(lab: Lab, new_owner: Callable[[str], Owner]) -> Owner:
    """An owner whose pod answers on port 8080."""
    return _serve(lab, new_owner("server"))


@pytest.fixture(scope="session")
def neighbour(lab: Lab, new_owner: Callable[[str], Owner]) -> Owner:
    """Another owner with a pod."""
    owner = new_owner("neighbour")
    with lab.manager() as manager:
        manager.ensure(owner, SMALL)
    return owner


def _serve(lab: Lab, owner: Owner, **settings: str) -> Owner:
    with lab.manager(**settings) as manager:
        manager.ensure(owner, SMALL)
        assert manager.exec(owner, Command(SERVE))
        assert eventually(lambda: manager.exec(owner, Command(_fetch("127.0.0.1"))).stdout.endswith(b"hello\n"))
    return owner


def _fetch(address: str) -> str:
    """A line that fetches the page from ADDRESS. (Debian's busybox has a wget that crashes.)"""
    return f"printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {address} 8080"


def pod_of(lab: Lab, owner: Owner) -> Pod:
    with lab.manager() as manager:
        return manager.status(owner)


def addresses(lab: Lab, owner: Owner) -> dict[str, str]:
    """The addresses of OWNER's pod inside the cluster: its own, and that of its Service."""
    pod = pod_of(lab, owner)
    get = ("get", "-n", pod.namespace, "-o")
    by_pod = lab.kubectl(*get, "jsonpath={.status.podIP}", f"pod/{pod.pod_name}")
    by_service = lab.kubectl(*get, "jsonpath={.spec.clusterIP}", f"service/{pod.service_name}")
    return {"pod": by_pod, "service": by_service}


def gets_in(lab: Lab, who: Owner, address: str) -> bool:
    """Whether WHO's pod can fetch the page from ADDRESS."""
    with lab.manager() as manager:
        return manager.exec(who, Command(_fetch(address))).stdout.endswith(b"hello\n")


@pytest.mark.parametrize("way", ["pod", "service"])
def test_a_pod_of_another_owner_cannot_connect(lab: Lab, server: Owner, neighbour: Owner, way: str) -> None:
    address = addresses(lab, server)[way]
    assert eventually(lambda: not gets_in(lab, neighbour, address))
    assert not gets_in(lab, neighbour, address)


@pytest.mark.parametrize("way", ["pod", "service"])
def test_a_pod_of_another_owner_can_connect_without_the_network_policy(
    lab: Lab, neighbour: Owner, new_owner: Callable[[str], Owner], way: str
) -> None:
    open_to_all = _serve(lab, new_owner(f"open-{way}"), LFGPODS_NETWORK_POLICY="0")
    address = addresses(lab, open_to_all)[way]
    assert eventually(lambda: gets_in(lab, neighbour, address))


def test_a_pod_of_the_same_namespace_can_connect(lab: Lab, server: Owner) -> None:
    assert create_pod(lab, server, "client").exit_code == 0
    namespace = server.names.namespace
    lab.kubectl("wait", "--for=condition=Ready", "pod/client", "-n", namespace, "--timeout=60s")
    for address in addresses(lab, server).values():
        fetch = ("exec", "-n", namespace, "client", "--", "sh", "-c", _fetch(address))
        assert lab.on_host(*lab.settings().kubectl, *fetch).stdout.endswith(b"hello\n")


def test_the_node_port_answers_from_outside_of_the_cluster(lab: Lab, server: Owner) -> None:
    url = pod_of(lab, server).access_url

    def fetched() -> bytes:
        try:
            with urllib.request.urlopen(str(url), timeout=5) as answer:
                return bytes(answer.read())
        except (urllib.error.URLError, OSError):
            return b""

    assert eventually(lambda: fetched() == b"hello\n")


def test_a_privileged_pod_in_an_owners_namespace_is_refused(lab: Lab, neighbour: Owner) -> None:
    refused = create_pod(lab, neighbour, "privileged", securityContext={"privileged": True})
    assert refused.exit_code != 0
    assert b'violates PodSecurity "baseline' in refused.stderr
    assert b"privileged" in refused.stderr


def test_a_pod_gets_the_memory_that_it_was_made_with(lab: Lab, neighbour: Owner) -> None:
    files = "/sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes"
    with lab.manager() as manager:
        limit = manager.exec(neighbour, Command(f"cat {files} 2>/dev/null")).stdout
    assert limit.split()[0] == str(64 << 20).encode()


def create_pod(lab: Lab, owner: Owner, name: str, **container: object) -> Completed:
    """A pod in OWNER's namespace that lfgpods knows nothing of."""
    command = ["sh", "-c", "sleep 600 & wait"]
    spec = {"containers": [{"name": "it", "image": lab.images.small, "command": command, **container}]}
    metadata = {"name": name, "namespace": owner.names.namespace}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {**spec, "terminationGracePeriodSeconds": 1},
    }
    script = 'text=$1; shift; printf %s "$text" | "$@"'
    return lab.on_host("sh", "-c", script, "sh", json.dumps(pod), *lab.settings().kubectl, "create", "-f", "-")
