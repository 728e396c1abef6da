"""How others do the same: kubectl on the host, OpenSSH with kubectl, and the two Python clients of Kubernetes."""

from __future__ import annotations

import shlex
import subprocess
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfgpods import Pod
from tests.cluster import ROOT_ACCOUNT, network
from tests.cluster.paths import ADMIN_KUBECONFIG, HOMES, HOST_BIN

ON_HOST = "kubectl on the host itself"
OVER_SSH = "ssh host kubectl"
OVER_OPEN_SSH = "the same with ControlMaster"
PYTHON_CLIENT = "kubernetes (Python client)"
KR8S = "kr8s"
HOST_HOME = str(HOMES / ROOT_ACCOUNT)


@dataclass(frozen=True)
class Ssh:
    """OpenSSH's client, with what leads to the host and nothing of the user's own."""

    address: str
    port: int
    key: str
    known_hosts: str
    control: Path | None = None
    """The socket of a connection that is open."""

    def __call__(self, *command: str) -> list[str]:
        """The words that run COMMAND on the host."""
        return [*self._client, self.address, shlex.join(command)]

    @property
    def _client(self) -> list[str]:
        options = [f"UserKnownHostsFile={self.known_hosts}", "BatchMode=yes", f"ControlPath={self.control or 'none'}"]
        words = [word for option in options for word in ("-o", option)]
        return ["ssh", "-F", "none", "-i", self.key, "-p", str(self.port), *words]

    @contextmanager
    def kept_open(self, control: Path) -> Iterator[Ssh]:
        """The same on a connection that stays open, as ControlMaster and ControlPersist do it."""
        kept = Ssh(self.address, self.port, self.key, self.known_hosts, control)
        persisting = ["-o", "ControlMaster=yes", "-o", "ControlPersist=yes", "-f", "-N", self.address]
        silent = subprocess.DEVNULL
        subprocess.run([*kept._client, *persisting], stdin=silent, stdout=silent, stderr=silent, check=True)
        try:
            yield kept
        finally:
            subprocess.run([*kept._client, "-O", "exit", self.address], capture_output=True, check=False)


def kubectl_on_host(*words: str) -> list[str]:
    """The words that run kubectl in the host's network, without any ssh."""
    return network.inside(str(HOST_BIN / "kubectl"), f"--kubeconfig={ADMIN_KUBECONFIG}", *words)


def exec_words(pod: Pod, *command: str, stdin: bool = False) -> list[str]:
    """The words with which any kubectl runs COMMAND in POD."""
    return ["exec", *(["-i"] if stdin else []), "-n", pod.namespace, str(pod.pod_name), "--", *command]


def python_client(pod: Pod, command: Sequence[str]) -> Callable[[], object]:
    """Runs COMMAND in POD with a client that is made once. Raises AssertionError where it fails."""
    from kubernetes import client, config
    from kubernetes.stream import stream

    api = client.CoreV1Api(config.new_client_from_config(str(ADMIN_KUBECONFIG)))

    def run() -> None:
        websocket = stream(
            api.connect_get_namespaced_pod_exec,
            pod.pod_name,
            pod.namespace,
            command=list(command),
            stdout=True,
            stderr=True,
            stdin=False,
            tty=False,
            _preload_content=False,
        )
        websocket.run_forever()
        assert websocket.returncode == 0
        websocket.close()

    return run


def kr8s_client(pod: Pod, command: Sequence[str]) -> Callable[[], object]:
    """Runs COMMAND in POD with a client that is made once. Raises kr8s' own error where it fails."""
    import kr8s
    from kr8s.objects import Pod as Kr8sPod

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of this cluster's version, which it does not support
        api: Any = kr8s.api(kubeconfig=str(ADMIN_KUBECONFIG))
        found: Any = Kr8sPod.get(str(pod.pod_name), namespace=pod.namespace, api=api)
    return lambda: found.exec(list(command))
