"""An API server with an etcd of its own beside the test cluster's, for objects by the thousand that nothing acts on.

It runs in the host's network, so that the host's kubectl reaches it, and ends with the process that started it,
however that ends. There are no controllers, no kubelet and no scheduler: what is made stays as it was made, and
going away takes no longer than to remove a folder.
"""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster import ClusterError, certificates, probes, programs
from tests.cluster.network import HOST_ADDRESS, inside
from tests.cluster.paths import ADMIN_KUBECONFIG
from tests.cluster.processes import ENVIRONMENT
from tests.cluster.waiting import wait_until

PORT = 7443
_ETCD, _ETCD_PEER, _ETCD_METRICS = 3379, 3380, 3381
_CALLERS = 4
_FOLDER = "lfgpods-api-server-"


@dataclass(frozen=True)
class Call:
    """One request; the field manager is who is written down to have set the fields."""

    method: str
    path: str
    body: dict[str, Any]
    manager: str = "lfgpods"


@dataclass(frozen=True)
class ApiServer:
    """An API server and the kubeconfig with which the host's kubectl asks it."""

    kubeconfig: Path

    def send(self, batches: Iterable[Iterable[Call]]) -> None:
        """Send the calls of each batch one after another, several batches at a time. Raises ClusterError."""
        with ThreadPoolExecutor(_CALLERS) as pool:
            for _ in pool.map(_send, batches):
                pass


def _send(calls: Iterable[Call]) -> None:
    connection = _connection()
    try:
        for call in calls:
            kind = "application/json" if call.method == "POST" else "application/merge-patch+json"
            path = f"{call.path}?fieldManager={call.manager}"
            connection.request(call.method, path, json.dumps(call.body), {"Content-Type": kind})
            with connection.getresponse() as response:
                answer = response.read()
                if response.status not in (200, 201):
                    raise ClusterError(f"{call.method} {path}: {answer.decode(errors='replace')[:300]}")
    finally:
        connection.close()


def _connection() -> http.client.HTTPSConnection:
    name = ADMIN_KUBECONFIG.stem
    context = ssl.create_default_context(cafile=certificates.AUTHORITY)
    context.load_cert_chain(certificates.certificate_of(name), certificates.key_of(name))
    return http.client.HTTPSConnection(HOST_ADDRESS, PORT, timeout=60, context=context)


@contextmanager
def running() -> Iterator[ApiServer]:
    """An empty API server until the end of the block. Raises ClusterError where it does not come up."""
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):  # of one that was killed; there is one at a time
        shutil.rmtree(left, ignore_errors=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_FOLDER)))
        stack.enter_context(
            _started(_etcd(folder), f"http://{HOST_ADDRESS}:{_ETCD_METRICS}/health", folder / "etcd.log")
        )
        url = f"https://{HOST_ADDRESS}:{PORT}"
        stack.enter_context(_started(_api_server(folder), f"{url}/readyz", folder / "kube-apiserver.log"))
        kubeconfig = folder / "kubeconfig"
        kubeconfig.touch(mode=0o600)
        kubeconfig.write_text(ADMIN_KUBECONFIG.read_text().replace(certificates.API_SERVER, url))
        yield ApiServer(kubeconfig)


@contextmanager
def _started(argv: list[str], health: str, log: Path) -> Iterator[None]:
    command = ["setpriv", "--pdeathsig", "KILL", "--", *inside(*argv)]
    with log.open("wb") as output:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=ENVIRONMENT)
    try:
        if not wait_until(lambda: child.poll() is not None or probes.answers_ok(health), 60):
            raise ClusterError(f"{argv[0]} does not answer:\n{log.read_text(errors='replace')[-2000:]}")
        if child.poll() is not None:
            raise ClusterError(f"{argv[0]} ended:\n{log.read_text(errors='replace')[-2000:]}")
        yield
    finally:
        child.kill()
        child.wait()


def _etcd(folder: Path) -> list[str]:
    return _changed(
        programs.all_programs()["etcd"].process.argv,
        data_dir=folder / "etcd",
        listen_client_urls=f"http://127.0.0.1:{_ETCD}",
        advertise_client_urls=f"http://127.0.0.1:{_ETCD}",
        listen_metrics_urls=f"http://{HOST_ADDRESS}:{_ETCD_METRICS}",
        listen_peer_urls=f"http://127.0.0.1:{_ETCD_PEER}",
    )


def _api_server(folder: Path) -> list[str]:
    return _changed(
        programs.all_programs()["kube-apiserver"].process.argv,
        etcd_servers=f"http://127.0.0.1:{_ETCD}",
        secure_port=PORT,
        cert_dir=folder / "certificates",
        # There are fewer than 3,000 in the usual range.
        service_node_port_range="20000-32767",
        # Nothing makes the service accounts that it would wait for.
        disable_admission_plugins="ServiceAccount",
        enable_admission_plugins="NodeRestriction,ResourceQuota,LimitRanger",
    )


def _changed(argv: Iterable[str], **flags: object) -> list[str]:
    """ARGV with FLAGS in place of those of the same names."""
    changed = {f"--{name.replace('_', '-')}": str(value) for name, value in flags.items()}
    kept = [word for word in argv if word.partition("=")[0] not in changed]
    return [*kept, *(f"{name}={value}" for name, value in changed.items())]
