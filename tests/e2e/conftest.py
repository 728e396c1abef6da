"""What the end-to-end tests share: a git repository over HTTP, a proxy that counts and cuts connections, and an sshd."""

from __future__ import annotations

import functools
import http.server
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.proxy import Proxy
from tests.e2e.sshd import Sshd, new_key
from tests.lab import Lab

APP = """\
from pathlib import Path

runs = Path("/workspace/runs.txt")
runs.write_text((runs.read_text() if runs.exists() else "") + "ran\\n")
print("hello from the app")
"""


class _Silent(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def _git(folder: Path, *argv: str) -> None:
    identity = ["-c", "user.name=Tester", "-c", "user.email=tester@example.com"]
    subprocess.run(["git", *identity, *argv], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="session")
def repository_url(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a git repository with an app.py, served at the address from which this machine reaches the host."""
    folder = tmp_path_factory.mktemp("served")
    work = folder / "work"
    work.mkdir()
    _git(work, "init", "-q", "-b", "main")
    (work / "app.py").write_text(APP)
    _git(work, "add", ".")
    _git(work, "commit", "-q", "-m", "An app")
    _git(folder, "clone", "-q", "--bare", "work", "app.git")
    _git(folder / "app.git", "update-server-info")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect((lab.environment["K8S_SSH_HOST"], 9))
        address = route.getsockname()[0]
    handler = functools.partial(_Silent, directory=str(folder))
    with http.server.ThreadingHTTPServer((address, 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://{address}:{server.server_address[1]}/app.git"
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(lab: Lab, tmp_path: Path) -> Iterator[Proxy]:
    """A proxy on loopback in front of the host's sshd, with a known_hosts file that knows it by that address."""
    ssh = lab.settings().require_ssh()
    with Proxy(ssh.host, ssh.port or 22) as proxy:
        known = tmp_path / "known_hosts"
        assert ssh.known_hosts is not None
        keys = [line.split(maxsplit=1)[1] for line in ssh.known_hosts.read_text().splitlines() if line[:1] not in "#@"]
        known.write_text("".join(f"[127.0.0.1]:{proxy.port} {key}\n" for key in keys))
        proxy.settings = {
            "K8S_SSH_HOST": "127.0.0.1",
            "K8S_SSH_PORT": str(proxy.port),
            "K8S_SSH_KNOWN_HOSTS": str(known),
            "LFGPODS_DATABASE": str(tmp_path / "proxied.db"),
        }
        yield proxy


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of the test's own; nothing of the machine's ~/.ssh or agent is seen."""
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture
def key(home: Path) -> Path:
    return new_key(home / "keys" / "mine")


@pytest.fixture
def sshd(home: Path, key: Path) -> Iterator[Sshd]:
    with Sshd(home / "sshd", key) as sshd:
        (home / ".ssh" / "known_hosts").write_text(sshd.known)
        yield sshd
