"""What makes metrics-server, a program beside the API server, a part of the API: `kubectl top` asks it."""

from __future__ import annotations

import base64

from tests.cluster import certificates
from tests.cluster.api import Api
from tests.cluster.errors import ClusterError
from tests.cluster.network import HOST_ADDRESS

PORT = 4443
_GROUP = "metrics.k8s.io"
_VERSION = "v1beta1"
_PORT_NAME = "https"
_NAME, _NAMESPACE = certificates.METRICS_SERVICE.split(".")[:2]


def _objects() -> dict[str, dict[str, object]]:
    """The objects by the path at which each is made."""
    authority = base64.b64encode(certificates.AUTHORITY.read_bytes()).decode()
    here = {"name": _NAME, "namespace": _NAMESPACE}
    return {
        f"/api/v1/namespaces/{_NAMESPACE}/services": {
            "metadata": here,
            "spec": {"ports": [{"name": _PORT_NAME, "port": 443, "targetPort": PORT}]},
        },
        f"/apis/discovery.k8s.io/v1/namespaces/{_NAMESPACE}/endpointslices": {
            "metadata": {**here, "labels": {"kubernetes.io/service-name": _NAME}},
            "addressType": "IPv4",
            "ports": [{"name": _PORT_NAME, "port": PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [HOST_ADDRESS], "conditions": {"ready": True}}],
        },
        "/apis/apiregistration.k8s.io/v1/apiservices": {
            "metadata": {"name": f"{_VERSION}.{_GROUP}"},
            "spec": {
                "group": _GROUP,
                "version": _VERSION,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": authority,
                "service": here,
            },
        },
    }


def register() -> None:
    """Tell the API server of metrics-server. Raises ClusterError."""
    api = Api()
    try:
        for path, document in _objects().items():
            status, answer = api.request("POST", path, document)
            if status not in (201, 409):
                raise ClusterError(f"metrics-server is not registered: {answer.get('message')}")
    finally:
        api.close()
