"""The Go programs of the cluster. Each family is built once, from the module below go/ that pins its sources.

A build is kept in the cache, outside the checkout, under a key of go.mod, go.sum and the family's own sources: what did
not change is not built again, and two releases of Kubernetes stand side by side.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import golang
from tests.cluster.errors import ClusterError
from tests.cluster.packages import run
from tests.cluster.paths import CACHE

_MODULES = Path(__file__).with_name("go")
_FOLDER = CACHE / "programs"
_COMPILED = CACHE / "go-build"
"""What Go compiled so far: the families share much of it, and it is gone once all of them are built."""
_TOOLS = "tool"
"""Go's name for the programs that a go.mod lists as its tools."""
_OWN = "."
DEFAULT_RELEASE = "1.37"
"""The release of Kubernetes, unless LFGPODS_TEST_KUBERNETES names another."""


@dataclass(frozen=True)
class Build:
    """A family of programs: its module below go/, what of it is compiled, and how."""

    module: str
    packages: str = _TOOLS
    tags: str = ""
    needs_c: bool = False
    version_of: str = ""
    """The module whose version its programs tell."""
    version_variables: tuple[tuple[str, str], ...] = ()
    """The variables that the linker sets for that, each with its form."""

    @property
    def folder(self) -> Path:
        """Where its programs are, or will be."""
        return _FOLDER / f"{self.module}-{_key(self)}"

    def program(self, name: str) -> Path:
        return self.folder / name

    def is_made(self) -> bool:
        return self.folder.exists()

    def version(self) -> str:
        """The version of its main module, as go.mod pins it."""
        found = re.search(rf"^(?:require)?\s*{re.escape(self.version_of)} v(\S+)", _text_of(self), re.MULTILINE)
        if found is None:
            raise ClusterError(f"go.mod of {self.module} names no {self.version_of}")
        return found[1]

    def make(self, go: Path) -> None:
        """Build it with the compiler GO. Its folder appears only once all of its programs are there."""
        environment = {
            "CGO_ENABLED": "1" if self.needs_c else "0",
            "GOCACHE": str(_COMPILED),
            "GOFLAGS": "",
            "GOTOOLCHAIN": "local",
            "GOWORK": "off",
        }
        argv = [str(go), "build", "-trimpath", "-buildvcs=false", f"-tags={self.tags}", f"-ldflags={self._linker()}"]
        _FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=_FOLDER, prefix="unfinished-") as unfinished:
            programs = Path(unfinished, "programs")
            run(*argv, "-o", f"{programs}{os.sep}", self.packages, cwd=_MODULES / self.module, env=environment)
            programs.rename(self.folder)

    def _linker(self) -> str:
        words = ["-s", "-w"]
        if self.version_variables:
            version = self.version()
            major, minor, _ = version.split(".")
            values = {"version": version, "major": major, "minor": minor}
            words += [f"-X {name}={form.format(**values)}" for name, form in self.version_variables]
        return " ".join(words)


def _text_of(build: Build) -> str:
    path = _MODULES / build.module / "go.mod"
    if not path.exists():
        known = sorted(path.name for path in _MODULES.iterdir())
        raise ClusterError(f"no recipe for {build.module}; there are {', '.join(known)}")
    return path.read_text()


@functools.cache
def _key(build: Build) -> str:
    recipe = hashlib.sha256(repr((build, _text_of(build))).encode())
    for path in sorted((_MODULES / build.module).iterdir()):
        recipe.update(path.read_bytes())
    return recipe.hexdigest()[:16]


_CONTAINERD = "github.com/containerd/containerd/v2"
CONTAINERD = Build(
    "containerd",
    tags="no_btrfs,no_devmapper,no_zfs",
    version_of=_CONTAINERD,
    version_variables=((f"{_CONTAINERD}/version.Version", "v{version}"),),
)
# Pods run under the runtime's seccomp profile, and that runc has from libseccomp alone.
RUNC = Build("runc", tags="seccomp", needs_c=True)
CNI = Build("cni")
ETCD = Build("etcd", packages=_OWN)
METRICS_SERVER = Build("metrics-server")
NETWORK_POLICIES = Build("kube-network-policies", packages=_OWN)
STUB = Build("stub", packages=_OWN)
KUBERNETES = Build(
    f"kubernetes-{os.environ.get('LFGPODS_TEST_KUBERNETES') or DEFAULT_RELEASE}",
    version_of="k8s.io/kubernetes",
    # The programs tell their version from the first; their user agents tell it from the second.
    version_variables=tuple(
        (f"k8s.io/{package}.{name}", form)
        for package in ("component-base/version", "client-go/pkg/version")
        for name, form in (("gitVersion", "v{version}"), ("gitMajor", "{major}"), ("gitMinor", "{minor}"))
    ),
)
_ALL = (STUB, ETCD, CNI, RUNC, CONTAINERD, METRICS_SERVER, NETWORK_POLICIES, KUBERNETES)


def make_all(report: Callable[[str], None]) -> None:
    """Build what is not there yet. Raises ClusterError with what the compiler said."""
    missing = [build for build in _ALL if not build.is_made()]
    if not missing:
        return
    CACHE.mkdir(parents=True, exist_ok=True)
    go = golang.compiler(max((_go_of(build) for build in missing), key=golang.numbers))
    report(f"building {', '.join(build.module for build in missing)} (minutes for each, once)")
    for build in missing:
        began = time.monotonic()
        build.make(go)
        report(f"{build.module} is built ({time.monotonic() - began:.0f} s)")
    shutil.rmtree(_COMPILED, ignore_errors=True)


def _go_of(build: Build) -> str:
    return str(re.findall(r"^go (\S+)", _text_of(build), re.MULTILINE)[0])
