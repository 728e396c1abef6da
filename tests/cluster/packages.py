"""Debian packages that the tests need: those that are missing are installed, without starting the services in them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.cluster.errors import ClusterError

OF_THE_CLUSTER = (
    *("mmdebstrap", "openssl", "busybox-static", "openssh-server", "openssh-client", "sudo", "iptables", "iproute2"),
    *("git", "bubblewrap", "postgresql"),
    # runc alone is partly C.
    *("gcc", "libc6-dev", "libseccomp-dev", "pkg-config"),
)
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")


def run(*argv: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    """Run a program to its end and return its stdout; what it said is in the error if it fails."""
    done = subprocess.run(
        argv,
        check=False,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        tail = (done.stdout + done.stderr)[-4000:]
        raise ClusterError(f"{' '.join(argv)} exited with {done.returncode}:\n{tail}")
    return done.stdout


def install(*packages: str) -> None:
    """Install those of PACKAGES that are missing."""
    query = subprocess.run(
        ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *packages],
        check=False,
        capture_output=True,
        text=True,
    )
    present = {line.split()[0] for line in query.stdout.splitlines() if line.endswith(" installed")}
    missing = [name for name in packages if name not in present]
    if not missing:
        return
    policy = Path("/usr/sbin/policy-rc.d")
    ours = not policy.exists()
    if ours:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        run("apt-get", "update", "-q")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run("apt-get", "install", "-q", "-y", "--no-install-recommends", *missing, env=quiet)
    finally:
        if ours:
            policy.unlink()


def debian_sources() -> list[str]:
    """The machine's Debian archives for bookworm as one-line apt sources."""
    targets = run("apt-get", "indextargets", "--format", "$(SITE)|$(RELEASE)|$(COMPONENT)", "Created-By: Packages")
    option = f"[signed-by={_KEYRING}] " if _KEYRING.exists() else ""
    lines = []
    for target in dict.fromkeys(targets.splitlines()):
        site, release, component = target.split("|")
        if release.startswith("bookworm") and component == "main":
            lines.append(f"deb {option}{site} {release} main")
    if not lines:
        raise ClusterError("no Debian bookworm archive among this machine's apt sources")
    return lines
