"""A PostgreSQL server for the tests, from Debian's package, with its data in a temporary folder.

It listens on a free port of the loopback interface only. It never syncs to disk, because its data is temporary.
"""

from __future__ import annotations

import os
import platform
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.cluster import packages
from tests.waiting import eventually

USER = "postgres"
"""The user of the server if the tests run as root, because it refuses to run as root."""
PASSWORD = "s3cret/with@odd:characters"
ENCODED = "s3cret%2Fwith%40odd%3Acharacters"


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    return found[-1].parent if found else None


def _can_install() -> bool:
    try:
        debian = "debian" in platform.freedesktop_os_release().get("ID", "")
    except OSError:
        debian = False
    return debian and os.geteuid() == 0


def left_out(mode: str) -> str | None:
    """Return why there is no server for the tests, in one line; None if there is one or it can be installed."""
    if _programs() or (mode != "off" and _can_install()):
        return None
    return "skipped the tests on PostgreSQL (there is no /usr/lib/postgresql/*/bin); apt install postgresql"


def install() -> None:
    """Install the server if it is missing."""
    if _programs() is None:
        packages.install("postgresql")


class Server:
    """One server. Each test gets its own database from `database`."""

    def __init__(self, folder: Path) -> None:
        install()
        programs = _programs()
        assert programs is not None
        self._programs = programs
        self._folder = folder
        self._log = folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _free_port()
        password = folder / "password"
        password.write_text(PASSWORD)
        if os.geteuid() == 0:
            for path in (folder, password):
                shutil.chown(path, USER, USER)
        self._run(
            "initdb", "--pgdata", str(self._data), "--username", "lfgpods", "--pwfile", str(password), "--auth", "scram-sha-256",
            "--no-sync", "--encoding", "UTF8", "--locale", "C.UTF-8", "--locale-provider", "icu", "--icu-locale", "en-US",
        )  # fmt: skip

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def url(self, database: str, *, password: str = f":{ENCODED}", port: int | None = None) -> str:
        return f"postgresql://lfgpods{password}@127.0.0.1:{port or self.port}/{database}"

    def database(self) -> str:
        """Create an empty database. Returns its URL."""
        name = f"store_{secrets.token_hex(6)}"
        self.ask(f"CREATE DATABASE {name}")
        return self.url(name)

    def ask(self, statement: str, url: str | None = None) -> list[tuple[object, ...]]:
        """Run STATEMENT on a new connection. Returns the rows."""
        import psycopg  # the benchmark's environment has none

        with psycopg.connect(url or self.url("postgres"), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def start(self) -> None:
        """Start the server and wait until it answers."""
        settings = {
            "port": self.port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
            "max_connections": 60, "shared_buffers": "16MB",
        }  # fmt: skip
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._as_user("postgres", "-D", str(self._data), *options),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        eventually(self._answers, within=60)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT cuts every connection, SIGQUIT and SIGKILL are a crash."""
        if self._process is None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(number)
        self._process.wait(30)
        self._process = None

    def restart(self, number: signal.Signals = signal.SIGINT) -> None:
        self.stop(number)
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Suspend the server and its processes."""
        pids = self._pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _pids(self) -> list[int]:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        return [self._process.pid, *map(int, children.split())]

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        import psycopg

        with suppress(psycopg.OperationalError):
            return self.ask("SELECT 1") == [(1,)]
        return False

    def _as_user(self, program: str, *arguments: str) -> list[str]:
        other = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups"] if os.geteuid() == 0 else []
        # The server ends with the tests, or with the thread that called this.
        return ["setpriv", "--pdeathsig=QUIT", *other, str(self._programs / program), *arguments]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            self._as_user(program, *arguments), cwd=self._folder, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr


@contextmanager
def server() -> Iterator[Server]:
    """Run a server. Removes it and its data afterwards."""
    with tempfile.TemporaryDirectory(prefix="lfgpods-postgres-", dir="/tmp") as folder:
        running = Server(Path(folder))
        try:
            running.start()
            yield running
        finally:
            running.stop(signal.SIGQUIT)  # a clean shutdown would take seconds


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
