"""Asks the API server over HTTPS, as kubernetes-admin: far cheaper than starting kubectl."""

from __future__ import annotations

import http.client
import json
import ssl
from typing import Any

from tests.cluster import certificates, images
from tests.cluster.network import HOST_ADDRESS
from tests.cluster.paths import ADMIN_KUBECONFIG

_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"generateName": "probe-"},
    "spec": {"containers": [{"name": "probe", "image": images.PAUSE}]},
}


class Api:
    """A connection to the API server that asks and is answered in JSON."""

    def __init__(self, timeout: float = 3) -> None:
        name = ADMIN_KUBECONFIG.stem
        context = ssl.create_default_context(cafile=certificates.AUTHORITY)
        context.load_cert_chain(certificates.certificate_of(name), certificates.key_of(name))
        self._connection = http.client.HTTPSConnection(HOST_ADDRESS, 6443, timeout=timeout, context=context)

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        payload = None if body is None else json.dumps(body)
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        self._connection.request(method, path, payload, {"Content-Type": kind})
        with self._connection.getresponse() as response:
            return response.status, json.load(response)

    def close(self) -> None:
        self._connection.close()


def _node_is_ready(api: Api) -> bool:
    status, node = api.request("GET", f"/api/v1/nodes/{certificates.NODE}")
    conditions = node.get("status", {}).get("conditions", ()) if status == 200 else ()
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def what_is_missing() -> str | None:
    """What keeps a new pod from being created and scheduled, or None if nothing does."""
    try:
        api = Api()
    except OSError as error:
        return f"no admin certificate: {error}"
    try:
        if not _node_is_ready(api):
            return "the node is not Ready"
        # An API group that does not answer keeps every deleted namespace from going.
        if api.request("GET", "/apis/metrics.k8s.io/v1beta1")[0] != 200:
            return "metrics-server does not answer through the API server"
        # Admission refuses a pod for as long as the default service account and its token are not there.
        status, answer = api.request("POST", "/api/v1/namespaces/default/pods?dryRun=All", _POD)
        return None if status == 201 else f"a pod would be refused: {answer.get('message')}"
    except (OSError, ValueError, http.client.HTTPException) as error:
        return f"the API server does not answer: {error}"
    finally:
        api.close()


def give_pods(node: str, network: str) -> bool:
    """Write the addresses of NODE's pods on it, as its network plugin has them; False if it is not there yet."""
    try:
        api = Api()
        try:
            body = {"spec": {"podCIDR": network, "podCIDRs": [network]}}
            return api.request("PATCH", f"/api/v1/nodes/{node}", body)[0] == 200
        finally:
            api.close()
    except (OSError, ValueError, http.client.HTTPException):
        return False
