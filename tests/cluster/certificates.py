"""The cluster's own certificate authority, made anew for every cluster, and the kubeconfigs that hold its keys."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from tests.cluster.network import HOST_ADDRESS, SERVICE_ADDRESS
from tests.cluster.packages import run
from tests.cluster.paths import ADMIN_KUBECONFIG, PKI

NODE = "lfgpods"
API_SERVER = f"https://{HOST_ADDRESS}:6443"
AUTHORITY = PKI / "ca.crt"
FRONT_PROXY = "front-proxy-client"
METRICS_SERVICE = "metrics-server.kube-system.svc"
SERVICE_ACCOUNT_KEY = PKI / "service-account.key"
_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "3650")


def key_of(name: str) -> Path:
    """The private key that belongs to the certificate NAME."""
    return PKI / f"{name}.key"


def certificate_of(name: str) -> Path:
    """The certificate NAME."""
    return PKI / f"{name}.crt"


def kubeconfig_of(name: str) -> Path:
    """The kubeconfig with which NAME talks to the API server."""
    return PKI / f"{name}.kubeconfig"


def _request(name: str, subject: str, *extensions: str, signed_by: str | None) -> None:
    settings = PKI / "openssl.cnf"
    # The system's file would add extensions of its own.
    settings.write_text("[req]\ndistinguished_name=name\n[name]\n")
    argv = ["openssl", "req", "-x509", "-config", str(settings), *_NEW_KEY, "-subj", subject]
    argv += ["-keyout", str(key_of(name)), "-out", str(certificate_of(name))]
    for extension in extensions:
        argv += ["-addext", extension]
    if signed_by:
        argv += ["-CA", str(certificate_of(signed_by)), "-CAkey", str(key_of(signed_by))]
    run(*argv)
    key_of(name).chmod(0o600)


def _issue(name: str, subject: str, *names: str) -> None:
    extensions = ["basicConstraints=critical,CA:FALSE", "extendedKeyUsage=clientAuth,serverAuth"]
    if names:
        extensions.append("subjectAltName=" + ",".join(names))
    _request(name, subject, *extensions, signed_by="ca")


def _issue_kubeconfig(name: str, subject: str) -> None:
    _issue(name, subject)

    def data(path: Path) -> str:
        return base64.b64encode(path.read_bytes()).decode()

    user = {"client-certificate-data": data(certificate_of(name)), "client-key-data": data(key_of(name))}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "lfgpods",
                "cluster": {"server": API_SERVER, "certificate-authority-data": data(AUTHORITY)},
            }
        ],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "lfgpods", "context": {"cluster": "lfgpods", "user": name}}],
        "current-context": "lfgpods",
    }
    path = kubeconfig_of(name)
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=2))


def create_node(name: str, address: str, suffix: str) -> None:
    """Make what the kubelet of a further node needs, of the authority that is there."""
    subject = f"/O=system:nodes/CN=system:node:{name}"
    _issue(f"kubelet-serving{suffix}", subject, f"DNS:{name}", f"IP:{address}")
    _issue_kubeconfig(f"kubelet{suffix}", subject)


def create() -> None:
    """Make the authority, every program's certificate and kubeconfig, and the service account key."""
    PKI.mkdir(mode=0o700)
    _request("ca", "/CN=lfgpods-test-cluster", "basicConstraints=critical,CA:TRUE", signed_by=None)
    _issue(
        "kube-apiserver",
        "/CN=kube-apiserver",
        f"IP:{HOST_ADDRESS}",
        f"IP:{SERVICE_ADDRESS}",
        "IP:127.0.0.1",
        *(f"DNS:kubernetes{tail}" for tail in ("", ".default", ".default.svc", ".default.svc.cluster.local")),
    )
    _issue("kubelet-serving", f"/O=system:nodes/CN=system:node:{NODE}", f"DNS:{NODE}", f"IP:{HOST_ADDRESS}")
    _issue("kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client")
    # The API server passes requests on to metrics-server, and says in whose name with this one.
    _issue(FRONT_PROXY, f"/CN={FRONT_PROXY}")
    _issue("metrics-server-serving", "/CN=metrics-server", f"DNS:{METRICS_SERVICE}", f"IP:{HOST_ADDRESS}")
    for name, subject in (
        ("kubelet", f"/O=system:nodes/CN=system:node:{NODE}"),
        ("kube-controller-manager", "/CN=system:kube-controller-manager"),
        ("kube-scheduler", "/CN=system:kube-scheduler"),
        ("kube-proxy", "/CN=system:kube-proxy"),
        ("kube-network-policies", "/O=system:masters/CN=kube-network-policies"),
        ("metrics-server", "/O=system:masters/CN=metrics-server"),
        ("lfgpods-user", "/O=system:masters/CN=lfgpods-user"),
        (ADMIN_KUBECONFIG.stem, "/O=system:masters/CN=kubernetes-admin"),
    ):
        _issue_kubeconfig(name, subject)
    run("openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(SERVICE_ACCOUNT_KEY))
