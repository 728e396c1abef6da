"""Private SSH servers on loopback, to be counted, crowded, frozen and impersonated, and the way of lfgpods to them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

from lfgpods.core.errors import HostError
from lfgpods.core.settings import SshSettings
from lfgpods.hosts.run import run
from lfgpods.hosts.ssh import SshHost
from tests.waiting import eventually

ECHO = ("echo", "hello")


def new_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """Make a key pair; the path of the private key."""
    path.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-N", passphrase, "-t", kind, "-f", str(path)], check=True)
    return path


def public(key: Path) -> str:
    """The type and text of a key's public half."""
    return " ".join(Path(f"{key}.pub").read_text().split()[:2])


class Sshd:
    """A real sshd of its own on 127.0.0.1 that lets root in with the keys in AUTHORIZED."""

    def __init__(self, folder: Path, *authorized: Path, **options: str) -> None:
        folder.mkdir(parents=True)
        self.host_key = new_key(folder / "host_key")
        self._log = folder / "log"
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port: int = server.getsockname()[1]
        (folder / "authorized_keys").write_text("".join(f"{public(key)}\n" for key in authorized))
        given = {
            "ListenAddress": f"127.0.0.1:{self.port}", "HostKey": str(self.host_key), "PidFile": "none",
            "AuthorizedKeysFile": str(folder / "authorized_keys"), "StrictModes": "no", "UsePAM": "no",
            "PermitRootLogin": "prohibit-password", "PasswordAuthentication": "no", "LogLevel": "VERBOSE",
            "SetEnv": f"HOME={folder}",  # the start-up files of the real one are not for tests to run, or to kill
            **options,
        }  # fmt: skip
        self._config = folder / "sshd_config"
        self._config.write_text("".join(f"{name} {value}\n" for name, value in given.items()))

    @property
    def known(self) -> str:
        """Its line for known_hosts."""
        return f"[127.0.0.1]:{self.port} {public(self.host_key)}\n"

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def logins(self) -> int:
        return self.log.count("Accepted publickey")

    def sessions(self) -> list[int]:
        """The processes that serve a connection each."""
        return _children(self._process.pid)

    def freeze(self) -> None:
        """Stop the processes that serve the connections of now; new ones are served."""
        for pid in self.sessions():
            os.kill(pid, signal.SIGSTOP)

    def __enter__(self) -> Sshd:
        Path("/run/sshd").mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-f", str(self._config), "-E", str(self._log)], stdin=subprocess.DEVNULL
        )
        try:
            eventually(lambda: self._log.exists() and "Server listening" in self.log)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        started = list(_descendants(self._process.pid))
        self._process.terminate()
        self._process.wait(10)
        for pid in started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def _descendants(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield from _descendants(child)
        yield child


class Agent:
    """An ssh-agent of its own that holds KEYS, and the certificates beside them."""

    def __init__(self, socket_path: Path, *keys: Path) -> None:
        self.socket_path = socket_path
        self._keys = keys

    def __enter__(self) -> Agent:
        self._process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(self.socket_path)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        try:
            eventually(self.socket_path.exists)
            environment = {**os.environ, "SSH_AUTH_SOCK": str(self.socket_path)}
            subprocess.run(["ssh-add", "-q", *map(str, self._keys)], env=environment, check=True, timeout=20)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


class Throttle:
    """A TCP proxy on loopback that passes on no more than RATE bytes a second to its target, like a slow uplink."""

    def __init__(self, port: int, rate: int) -> None:
        self._target = port
        self._chunk = rate // 20
        self._ended = threading.Event()
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)  # or it would take megabytes at once
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen()
        self.port: int = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []

    def __enter__(self) -> Throttle:
        self._threads = [threading.Thread(target=self._serve, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        for end in [self._listener, *self._ends]:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for end in [self._listener, *self._ends]:
            end.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [client, server]
                for source, sink, pause in ((client, server, 0.05), (server, client, 0.0)):
                    thread = threading.Thread(target=self._pass_on, args=(source, sink, pause), daemon=True)
                    self._threads.append(thread)
                    thread.start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, pause: float) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(self._chunk):
                sink.sendall(data)
                self._ended.wait(pause)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def settings(home: Path, sshd: Sshd | None = None, **given: object) -> SshSettings:
    values: dict[str, object] = {
        "host": "127.0.0.1", "port": sshd and sshd.port, "username": None, "key_file": None, "key_string": None,
        "key_passphrase": None, "known_hosts": None, "accept_new_host_keys": False, "accepted_host_keys": home / "own",
    }  # fmt: skip
    return SshSettings(**{**values, **given})  # type: ignore[arg-type]


@contextlib.contextmanager
def opened(settings: SshSettings) -> Iterator[SshHost]:
    host = SshHost(settings)
    try:
        yield host
    finally:
        host.close()


def refused(settings: SshSettings) -> HostError:
    with opened(settings) as host, pytest.raises(HostError) as error:
        run(host, ECHO)
    assert error.value.hint
    return error.value


@contextlib.contextmanager
def behind(home: Path, key: Path, target: Sshd, config: str = "") -> Iterator[Sshd]:
    """A second server, and an ssh_config that reaches TARGET as `kube` only through it."""
    with Sshd(home / "gateway", key) as gateway:
        (home / ".ssh" / "config").write_text(
            f"Host kube\n  HostName 127.0.0.1\n  Port {target.port}\n  ProxyJump gateway\n"
            f"Host gateway\n  HostName 127.0.0.1\n  Port {gateway.port}\n{config}"
        )
        (home / ".ssh" / "known_hosts").write_text(target.known + gateway.known)
        yield gateway
