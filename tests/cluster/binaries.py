"""The programs of the test cluster: Debian packages, and Kubernetes built once from Debian's source package.

Everything that is built is kept in a cache folder outside the checkout, so only a new machine builds (about
six minutes on two cores). The machine's own apt sources are read, never changed.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tests.cluster import packages
from tests.cluster.errors import ClusterError
from tests.cluster.packages import run
from tests.cluster.paths import CACHE

PACKAGES = (
    *("golang-go", "dpkg-dev", "mmdebstrap", "git", "openssl"),
    *("etcd-server", "containerd", "runc", "containernetworking-plugins", "busybox-static"),
    *(
        "openssh-server",
        "openssh-client",
        "sudo",
        "bubblewrap",
        "iptables",
        "conntrack",
        "ethtool",
        "socat",
        "iproute2",
        "postgresql",
    ),
)
PROGRAMS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
VERSION = "v1.20.2"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
BIN = CACHE / f"kubernetes-{VERSION}"
# The programs tell their version from the first; the API server's /version, and every user agent, from the second.
_VERSION_PACKAGES = tuple(
    f"k8s.io/kubernetes/vendor/k8s.io/{path}" for path in ("component-base/version", "client-go/pkg/version")
)


def install_packages() -> None:
    """Install the Debian packages that are missing."""
    packages.install(*PACKAGES)


def debian_sources(kind: str) -> list[str]:
    """The machine's Debian archives for bookworm as one-line apt sources of KIND (deb or deb-src)."""
    targets = run("apt-get", "indextargets", "--format", "$(SITE)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages")
    option = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    lines = []
    for target in dict.fromkeys(targets.splitlines()):
        site, release, component = target.split("|")
        if release.startswith("bookworm") and component == "main":
            lines.append(f"{kind} {option}{site} {release} main")
    if not lines:
        raise ClusterError("no Debian bookworm archive among this machine's apt sources")
    return lines


def _fetch_source(workspace: Path) -> Path:
    sources = workspace / "sources.list"
    sources.write_text("\n".join(debian_sources("deb-src")) + "\n")
    lists = workspace / "lists"
    (lists / "partial").mkdir(parents=True)
    own = [
        "-o",
        f"Dir::Etc::sourcelist={sources}",
        "-o",
        "Dir::Etc::sourceparts=-",
        "-o",
        f"Dir::State::lists={lists}",
    ]
    sandbox = ["-o", "APT::Sandbox::User=root"]
    run("apt-get", *own, *sandbox, "update", "-q")
    run("apt-get", *own, *sandbox, "source", "--download-only", "-q", "kubernetes", cwd=workspace)
    tarball = next(workspace.glob("kubernetes_*.orig.tar.*"))
    tree = workspace / "go" / "src" / "k8s.io" / "kubernetes"
    tree.mkdir(parents=True)
    run("tar", "-xf", str(tarball), "-C", str(tree), "--strip-components=1")
    return tree


def _openapi_packages(tree: Path) -> list[str]:
    """The packages that openapi-gen has to read: those that carry its tag outside of tests and generated files."""
    found = set()
    # Kubernetes' own libraries are symbolic links in the vendor folder; a walk enters one only from its top.
    for top in (*sorted((tree / "vendor" / "k8s.io").iterdir()), tree / "pkg"):
        for folder, _, files in os.walk(top):
            path = os.path.relpath(folder, tree)
            if re.search(r"(^|/)(examples|testapigroup|testdata)(/|$)", path):
                continue
            for name in files:
                if not name.endswith(".go") or name.endswith("_test.go") or name.startswith("zz_generated"):
                    continue
                if "+k8s:openapi-gen=" in Path(folder, name).read_text(errors="replace"):
                    found.add(
                        path.removeprefix("vendor/") if path.startswith("vendor/") else f"k8s.io/kubernetes/{path}"
                    )
                    break
    return sorted(found)


def _generate_openapi(tree: Path, env: dict[str, str]) -> None:
    generator = tree / "_openapi-gen"
    run("go", "build", "-o", str(generator), "./vendor/k8s.io/kube-openapi/cmd/openapi-gen", cwd=tree, env=env)
    run(
        str(generator),
        "-O", "zz_generated.openapi",
        "-p", "k8s.io/kubernetes/pkg/generated/openapi",
        "-i", ",".join(_openapi_packages(tree)),
        "-h", "hack/boilerplate/boilerplate.generatego.txt",
        "-r", os.devnull,
        cwd=tree,
        env=env,
    )  # fmt: skip


def build_kubernetes() -> Path:
    """Return the folder that holds the six Kubernetes programs, building them first on a new machine."""
    if all((BIN / program).exists() for program in PROGRAMS):
        return BIN
    workspace = CACHE / "build"
    shutil.rmtree(workspace, ignore_errors=True)
    workspace.mkdir(parents=True)
    tree = _fetch_source(workspace)
    go = {
        "GOPATH": str(workspace / "go"),
        "GOCACHE": str(workspace / "gocache"),
        "GO111MODULE": "off",
        "CGO_ENABLED": "0",
        "GOFLAGS": "",
    }
    _generate_openapi(tree, go)
    stamp = {"gitVersion": VERSION, "gitMajor": "1", "gitMinor": "20"}
    values = (f"-X {package}.{name}={value}" for package in _VERSION_PACKAGES for name, value in stamp.items())
    ldflags = " ".join(["-s", "-w", *values])
    BIN.mkdir(parents=True, exist_ok=True)
    for program in PROGRAMS:
        if (BIN / program).exists():
            continue
        print(f"building {program}", flush=True)
        run(
            "go",
            "build",
            "-ldflags",
            ldflags,
            "-o",
            str(workspace / program),
            f"./cmd/{program}",
            cwd=tree,
            env=go,
        )
        os.replace(workspace / program, BIN / program)
    shutil.rmtree(workspace)
    return BIN
