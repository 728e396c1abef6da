"""The configuration files of containerd, CNI, kubelet and sshd, as text; nothing here touches the machine."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cluster import builds, certificates, images, network
from tests.cluster.paths import (
    ADMIN_KUBECONFIG,
    CNI_ADDRESSES,
    CONFIG,
    CONTAINERD_ROOT,
    CONTAINERD_SOCKET,
    CONTAINERD_STATE,
    HOMES,
    HOST_BIN,
    KUBELET,
)

ROOT_ACCOUNT = "lfgpods-root"
USER_ACCOUNT = "lfgpods-user"
CGROUP = "lfgpods"
CNI_NETWORK = "lfgpods"
CNI = CONFIG / "cni"
CONTAINERD_CONFIG = CONFIG / "containerd.toml"
KUBELET_CONFIG = CONFIG / "kubelet.json"
RESOLVER = CONFIG / "resolv.conf"
SSHD = CONFIG / "sshd"
SSHD_CONFIG = SSHD / "sshd_config"
AUTHORIZED_KEYS = SSHD / "authorized_keys"
HOST_KEY = SSHD / "ssh_host_ed25519_key"
USER_KUBECONFIG = HOMES / USER_ACCOUNT / ".kube" / "config"


def containerd(root: Path, state: Path, socket: Path, cni: Path) -> str:
    # Without CAP_SYS_RESOURCE no process may be given a lower OOM score than its parent's.
    return f"""\
version = 3
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
  address = "{socket}"

[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{images.PAUSE}"

[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true

[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{builds.CNI.folder}"]
  conf_dir = "{cni}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
  runtime_path = "{builds.CONTAINERD.program("containerd-shim-runc-v2")}"

[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "{builds.RUNC.program("runc")}"
"""


def cni(name: str, subnet: str, addresses: Path) -> str:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": subnet}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(addresses),
        },
    }
    portmap = {"type": "portmap", "capabilities": {"portMappings": True}}
    return json.dumps({"cniVersion": "1.0.0", "name": name, "plugins": [bridge, portmap]}, indent=2)


def kubelet(certificate: str, address: str, group: str, socket: Path, root: Path) -> str:
    document = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(certificates.AUTHORITY)},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(certificates.certificate_of(certificate)),
        "tlsPrivateKeyFile": str(certificates.key_of(certificate)),
        "healthzBindAddress": address,
        "containerRuntimeEndpoint": f"unix://{socket}",
        "podLogsDir": str(root / "pod-logs"),
        "volumePluginDir": str(root / "volume-plugins"),
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        # A group of our own, so that cleaning up can't hit another kubelet's pods.
        "cgroupRoot": f"/{group}",
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "clusterDomain": "cluster.local",
        "clusterDNS": [network.DNS_ADDRESS],
        "resolvConf": str(RESOLVER),
        "maxPods": 200,
        "podPidsLimit": -1,
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        # A node that says nothing is noticed after ten seconds (node-monitor-grace-period); its lease, which it
        # renews in a quarter of this time, has to be quicker than that.
        "nodeLeaseDurationSeconds": 8,
        "nodeStatusUpdateFrequency": "2s",
        "nodeStatusReportFrequency": "1m0s",
        # The images are made here and nowhere else: losing one to a full disk could not be undone by a pull.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
    }
    return json.dumps(document, indent=2)


def sshd(address: str) -> str:
    return f"""\
Port 22
ListenAddress {address}
HostKey {HOST_KEY}
PidFile none
AuthorizedKeysFile {AUTHORIZED_KEYS}
AllowUsers {ROOT_ACCOUNT} {USER_ACCOUNT}
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PrintMotd no
MaxSessions 10
MaxStartups 10:30:100
Subsystem sftp internal-sftp
SetEnv KUBECONFIG={ADMIN_KUBECONFIG} PATH={HOST_BIN}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Match User {USER_ACCOUNT}
    SetEnv KUBECONFIG={USER_KUBECONFIG} PATH={HOST_BIN}:/usr/local/bin:/usr/bin:/bin
"""


def sudoers() -> str:
    """What lets the unprivileged account become root without a password, kubeconfig and kubectl included."""
    return f"""\
Defaults:{USER_ACCOUNT} env_keep += "KUBECONFIG", secure_path = "{HOST_BIN}:/usr/sbin:/usr/bin:/sbin:/bin"
{USER_ACCOUNT} ALL=(ALL) NOPASSWD: ALL
"""


def files() -> dict[Path, str]:
    """Every configuration file and its text."""
    return {
        CONTAINERD_CONFIG: containerd(CONTAINERD_ROOT, CONTAINERD_STATE, CONTAINERD_SOCKET, CNI),
        CNI / "10-lfgpods.conflist": cni(CNI_NETWORK, network.NODE_PODS, CNI_ADDRESSES),
        KUBELET_CONFIG: kubelet("kubelet-serving", network.HOST_ADDRESS, CGROUP, CONTAINERD_SOCKET, KUBELET),
        RESOLVER: "",
        SSHD_CONFIG: sshd(network.HOST_ADDRESS),
    }
