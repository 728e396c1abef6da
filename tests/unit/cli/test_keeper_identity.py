"""Which command lines one keeper may run, and what a caller does to hand one over."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from lfgpods.cli.keeper import client
from lfgpods.cli.keeper.identity import ACCEPTED, GO, HEADER, identity, socket_path
from lfgpods.cli.keeper_process import parse


def test_a_keeper_is_for_one_database_and_one_login_to_it(empty_folder: Path) -> None:
    shared = {"LFGPODS_DATABASE": "postgresql://db.example.com/pods", "PGUSER": "ada", "PGPASSWORD": "one"}
    here = identity(shared)
    assert identity({**shared, "UNRELATED": "x"}) == here
    assert identity({**shared, "PGPASSWORD": "two"}) != here
    assert identity({**shared, "LFGPODS_DATABASE": "postgresql://db.example.com/other"}) != here
    assert identity({"LFGPODS_DATABASE": "a.db"}) != identity({"LFGPODS_DATABASE": "./a.db"})


def test_a_keeper_is_for_one_env_file(empty_folder: Path) -> None:
    without = identity({})
    (empty_folder / ".env").write_text("LFGPODS_HOST=embedded\n")
    assert identity({}) != without


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"LFGPODS_DATABASE": "a.db"},
        {"KUBECONFIG": "/a:config"},
        {"PGPASSFILE": "pass"},
        {"LFGPODS_KUBECTL": "kubectl --kubeconfig staging"},
        {"LFGPODS_ANYTHING_NEW": "some/path"},
    ],
)
def test_each_folder_has_a_keeper_of_its_own(
    environ: dict[str, str], empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = identity(environ)
    (empty_folder / "elsewhere").mkdir()
    monkeypatch.chdir(empty_folder / "elsewhere")
    assert identity(environ) != here
    monkeypatch.chdir(empty_folder)
    assert identity(environ) == here


def test_a_folder_that_was_made_again_has_another_keeper(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = empty_folder / "checkout"
    folder.mkdir()
    monkeypatch.chdir(folder)
    before = identity({})
    folder.rename(empty_folder / "old")
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert identity({}) != before


def test_a_command_in_a_removed_folder_is_not_handed_over(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = empty_folder / "removed"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("LFGPODS_KEEP", "5m")
    folder.rmdir()
    assert client.hand_over(["exec", "-c", "true"]) is None
    monkeypatch.chdir(empty_folder)


@pytest.mark.parametrize(
    ("words", "is_accepted"),
    [
        (["exec", "--project-id", "x", "-c", "true"], True),
        (["exec", "--conversation-id", "x", "--timeout", "3", "--", "ls", "--help"], True),
        (["exec", "--project-id", "x", "-v", "-c", "true"], False),
        (["exec", "--help"], False),
        (["exec", "--project-id", "x", "--nonsense", "-c", "true"], False),
        (["exec", "--project-id", "x"], False),
        (["exec", "-c", "true"], False),
        (["exec", "--project-id", "x", "--timeout", "0", "-c", "true"], False),
    ],
)
def test_a_keeper_accepts_only_command_lines_that_print_nothing_themselves(
    words: list[str], is_accepted: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    execution = parse(words)
    assert (execution is not None) is is_accepted
    assert capfd.readouterr().err == ""


@pytest.fixture
def runtime_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    folder = Path(tempfile.mkdtemp(prefix="lfgpods-test-"))
    yield folder
    shutil.rmtree(folder)


HANDED_OVER = """
import os, sys
before = set(sys.modules)
def leave(code):
    print(*set(sys.modules) - before)
    sys.stdout.flush()
    end(code)
end, os._exit = os._exit, leave
from lfgpods.cli.startup import program
program()
"""


def test_a_handed_over_command_loads_next_to_nothing(runtime_folder: Path) -> None:
    environment = {**os.environ, "LFGPODS_KEEP": "5m", "XDG_RUNTIME_DIR": str(runtime_folder)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(runtime_folder))
        path = Path(socket_path(identity(environment)))
    path.parent.mkdir(mode=0o700)

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            length = int.from_bytes(connection.recv(HEADER), "big")
            assert connection.recv(length).endswith(b"exec\0-c\0true")
            connection.sendall(ACCEPTED)
            go, streams, _, _ = socket.recv_fds(connection, 1, 3)
            for stream in streams:
                os.close(stream)
            connection.sendall(bytes([7 if go == GO else 1]))

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.settimeout(30)
        listener.bind(str(path))
        listener.listen()
        keeper = Thread(target=answer)
        keeper.start()
        done = subprocess.run(
            [sys.executable, "-c", HANDED_OVER, "exec", "-c", "true"],
            env=environment, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        keeper.join()
    assert (done.returncode, done.stderr) == (7, "")
    loaded = set(done.stdout.split())
    assert {name for name in loaded if name.startswith("lfgpods")} == {
        "lfgpods", "lfgpods.cli", "lfgpods.cli.startup", "lfgpods.cli.keeper", "lfgpods.cli.keeper.client",
        "lfgpods.cli.keeper.identity", "lfgpods.core", "lfgpods.core.version",
    }  # fmt: skip
    assert not {"typer", "logging", "dataclasses", "subprocess", "argparse", "importlib.metadata"} & loaded
