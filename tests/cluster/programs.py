"""The programs of the cluster in the order in which they are started: their arguments and their health checks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import builds, certificates, configuration, metrics, network, probes
from tests.cluster.builds import KUBERNETES
from tests.cluster.errors import ClusterError
from tests.cluster.paths import CONTAINERD_SOCKET, ETCD, KUBELET, PKI
from tests.cluster.processes import Process
from tests.cluster.waiting import wait_until

SSH_PORT = 22
CONTAINERD = builds.CONTAINERD.program("containerd")
_HOST = network.HOST_ADDRESS


@dataclass(frozen=True)
class Program:
    """A process of the cluster and the question whether it answers."""

    process: Process
    answers: Callable[[], bool]

    def ready(self) -> bool:
        return self.process.pid() is not None and self.answers()

    def wait_ready(self, timeout: float = 60) -> None:
        """Return once it answers; ClusterError with its log if it dies or does not answer in time."""
        name = self.process.name
        if not wait_until(lambda: self.process.pid() is None or self.answers(), timeout):
            raise ClusterError(f"{name} did not answer within {timeout:.0f} s:\n{self.process.log_tail()}")
        if self.process.pid() is None:
            raise ClusterError(f"{name} ended:\n{self.process.log_tail()}")


def url_answers(url: str) -> Callable[[], bool]:
    return lambda: probes.answers_ok(url)


def arguments(program: Path, **flags: object) -> tuple[str, ...]:
    """The command line of a program whose flags are written as those of Kubernetes are."""
    return (str(program), *(f"--{flag.replace('_', '-')}={value}" for flag, value in flags.items()))


def _kubernetes(name: str, answers: str, **flags: object) -> Program:
    return Program(Process(name, arguments(KUBERNETES.program(name), **flags)), url_answers(answers))


def _etcd() -> Program:
    client = "http://127.0.0.1:2379"
    metrics = f"http://{_HOST}:2381"
    argv = [
        str(builds.ETCD.program("etcd")),
        "--name=lfgpods",
        f"--data-dir={ETCD}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]
    argv += [
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-metrics-urls={metrics}",
    ]
    argv += ["--listen-peer-urls=http://127.0.0.1:2380"]
    return Program(Process("etcd", tuple(argv)), url_answers(f"{metrics}/health"))


def _containerd() -> Program:
    argv = arguments(CONTAINERD, config=configuration.CONTAINERD_CONFIG)
    return Program(Process("containerd", argv), lambda: probes.accepts(CONTAINERD_SOCKET))


def _sshd() -> Program:
    argv = ("/usr/sbin/sshd", "-D", "-e", "-f", str(configuration.SSHD_CONFIG))
    return Program(Process("sshd", argv), lambda: probes.greets_as_ssh(_HOST, SSH_PORT))


def _api_server() -> Program:
    return _kubernetes(
        "kube-apiserver",
        f"{certificates.API_SERVER}/readyz",
        advertise_address=_HOST,
        etcd_servers="http://127.0.0.1:2379",
        service_cluster_ip_range=network.SERVICE_CIDR,
        client_ca_file=certificates.AUTHORITY,
        tls_cert_file=certificates.certificate_of("kube-apiserver"),
        tls_private_key_file=certificates.key_of("kube-apiserver"),
        kubelet_certificate_authority=certificates.AUTHORITY,
        kubelet_client_certificate=certificates.certificate_of("kubelet-client"),
        kubelet_client_key=certificates.key_of("kubelet-client"),
        # The node's name means nothing to a resolver; asking one would cost every exec its timeout.
        kubelet_preferred_address_types="InternalIP",
        service_account_issuer="https://kubernetes.default.svc",
        service_account_key_file=certificates.SERVICE_ACCOUNT_KEY,
        service_account_signing_key_file=certificates.SERVICE_ACCOUNT_KEY,
        authorization_mode="Node,RBAC",
        enable_admission_plugins="NodeRestriction,ResourceQuota,LimitRanger,ServiceAccount",
        allow_privileged="true",
        requestheader_client_ca_file=certificates.AUTHORITY,
        requestheader_allowed_names=certificates.FRONT_PROXY,
        requestheader_username_headers="X-Remote-User",
        requestheader_group_headers="X-Remote-Group",
        requestheader_extra_headers_prefix="X-Remote-Extra-",
        proxy_client_cert_file=certificates.certificate_of(certificates.FRONT_PROXY),
        proxy_client_key_file=certificates.key_of(certificates.FRONT_PROXY),
    )


def _controller_manager() -> Program:
    # Only rates are raised. Resync periods stay as they are: the traps they hold are there to be tested.
    return _kubernetes(
        "kube-controller-manager",
        f"https://{_HOST}:10257/healthz",
        kubeconfig=certificates.kubeconfig_of("kube-controller-manager"),
        leader_elect="false",
        use_service_account_credentials="true",
        service_account_private_key_file=certificates.SERVICE_ACCOUNT_KEY,
        root_ca_file=certificates.AUTHORITY,
        # CNI has each node's range already, and the allocator does not know which.
        allocate_node_cidrs="false",
        node_monitor_grace_period="10s",
        cluster_cidr=network.POD_CIDR,
        service_cluster_ip_range=network.SERVICE_CIDR,
        cert_dir=PKI,
        flex_volume_plugin_dir=KUBELET / "volume-plugins",
        kube_api_qps=200,
        kube_api_burst=400,
        concurrent_deployment_syncs=10,
        concurrent_replicaset_syncs=10,
    )


def _scheduler() -> Program:
    return _kubernetes(
        "kube-scheduler",
        f"https://{_HOST}:10259/healthz",
        kubeconfig=certificates.kubeconfig_of("kube-scheduler"),
        leader_elect="false",
        kube_api_qps=200,
        kube_api_burst=400,
    )


def kubelet_arguments(node: str, address: str, config: Path, kubeconfig: Path, root: Path) -> tuple[str, ...]:
    return arguments(
        KUBERNETES.program("kubelet"),
        config=config,
        kubeconfig=kubeconfig,
        root_dir=root,
        hostname_override=node,
        node_ip=address,
    )


def proxy_arguments(node: str) -> tuple[str, ...]:
    # The zeros leave the machine's own conntrack and OOM settings alone.
    return arguments(
        KUBERNETES.program("kube-proxy"),
        kubeconfig=certificates.kubeconfig_of("kube-proxy"),
        hostname_override=node,
        proxy_mode="iptables",
        cluster_cidr=network.POD_CIDR,
        conntrack_max_per_core=0,
        conntrack_tcp_timeout_established=0,
        conntrack_tcp_timeout_close_wait=0,
        oom_score_adj=0,
    )


def network_policies(node: str, suffix: str = "", namespace: Path = network.NAMESPACE_FILE) -> Program:
    """What enforces the NetworkPolicies of NODE's pods."""
    argv = arguments(
        builds.NETWORK_POLICIES.program("kube-network-policies"),
        kubeconfig=certificates.kubeconfig_of("kube-network-policies"),
        hostname_override=node,
        nfqueue_id=network.POLICY_QUEUE,
    )
    process = Process(f"kube-network-policies{suffix}", argv, namespace)
    return Program(process, lambda: probes.takes_from_queue(process.pid(), network.POLICY_QUEUE))


def _metrics_server() -> Program:
    kubeconfig = certificates.kubeconfig_of("metrics-server")
    argv = arguments(
        builds.METRICS_SERVER.program("metrics-server"),
        kubeconfig=kubeconfig,
        authentication_kubeconfig=kubeconfig,
        authorization_kubeconfig=kubeconfig,
        bind_address=_HOST,
        secure_port=metrics.PORT,
        tls_cert_file=certificates.certificate_of("metrics-server-serving"),
        tls_private_key_file=certificates.key_of("metrics-server-serving"),
        kubelet_certificate_authority=certificates.AUTHORITY,
        kubelet_preferred_address_types="InternalIP",
        metric_resolution="10s",
        kubelet_request_timeout="5s",
    )
    return Program(Process("metrics-server", argv), url_answers(f"https://{_HOST}:{metrics.PORT}/livez"))


def _kubelet() -> Program:
    config, kubeconfig = configuration.KUBELET_CONFIG, certificates.kubeconfig_of("kubelet")
    argv = kubelet_arguments(certificates.NODE, _HOST, config, kubeconfig, KUBELET)
    return Program(Process("kubelet", argv), url_answers(f"http://{_HOST}:10248/healthz"))


def _proxy() -> Program:
    return Program(
        Process("kube-proxy", proxy_arguments(certificates.NODE)), url_answers(f"http://{_HOST}:10256/healthz")
    )


def all_programs() -> Mapping[str, Program]:
    """Every program by its name, in the order of starting."""
    programs = (
        _etcd(),
        _containerd(),
        _api_server(),
        _controller_manager(),
        _scheduler(),
        _kubelet(),
        _proxy(),
        network_policies(certificates.NODE),
        _metrics_server(),
        _sshd(),
    )
    return {program.process.name: program for program in programs}
