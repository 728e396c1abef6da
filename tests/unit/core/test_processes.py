from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lfgpods.core import processes

OURS = (
    "import sys; from lfgpods.core.processes import this_process; print(this_process(), flush=True); sys.stdin.read()"
)


@pytest.fixture
def child() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OURS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_this_process_recognizes_itself_only() -> None:
    assert processes.is_alive(processes.this_process()) is True
    boot, namespace, pid, ticks = processes.this_process().split(":")
    assert pid == str(os.getpid())
    assert processes.is_alive(f"{boot}:{namespace}:{pid}:{int(ticks) + 1}") is False


def test_the_end_of_another_process_is_seen(child: subprocess.Popen[str]) -> None:
    with child:
        assert child.stdout is not None
        name = child.stdout.readline().strip()
        assert name != processes.this_process()
        assert processes.is_alive(name) is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert processes.is_alive(name) is False  # a zombie is dead
    assert processes.is_alive(name) is False


def test_a_process_has_the_same_identity_for_itself_and_for_others(child: subprocess.Popen[str]) -> None:
    with child:
        assert child.stdout is not None
        assert str(processes.identify(child.pid)) == child.stdout.readline().strip()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert processes.identify(child.pid) is None


@pytest.mark.parametrize(
    "name", ["", "x", ":::", "a:b:c:d", "1:2:3", f"{'9' * 5}:1:1:1", "unknown:1:00", "0:0:٣:1", "a\n:1:1:1"]
)
def test_nothing_is_known_about_processes_elsewhere(name: str) -> None:
    assert processes.is_alive(name) is None


@pytest.mark.parametrize("part", [0, 1])
def test_nothing_is_known_about_another_boot_or_another_container(part: int) -> None:
    parts = processes.this_process().split(":")
    parts[part] = "1234"
    assert processes.is_alive(":".join(parts)) is None


def test_an_impossible_pid_is_not_alive() -> None:
    boot, namespace, *_ = processes.this_process().split(":")
    assert processes.is_alive(f"{boot}:{namespace}:{10**30}:1") is False


def test_a_hidden_process_is_not_called_dead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = processes.this_process().rsplit(":", 2)[0]
    (tmp_path / "self").symlink_to(str(os.getpid()))
    (tmp_path / "sys").symlink_to("/proc/sys")
    (tmp_path / str(os.getpid())).symlink_to("/proc/self")
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    assert processes.is_alive(processes.this_process()) is True
    assert processes.is_alive(f"{place}:{os.getppid()}:1") is None
    assert processes.is_alive(f"{place}:{2**22 + 1}:1") is False


def test_the_proc_of_another_namespace_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = processes.this_process()
    (tmp_path / "self").symlink_to("1")
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    assert processes.this_process().startswith("unknown:")
    assert processes.is_alive(real) is None


def test_without_proc_a_process_is_still_unique(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    elsewhere = processes.this_process()
    monkeypatch.setattr(processes, "_PROC", tmp_path / "nowhere")
    mine = processes.this_process()
    assert processes.is_alive(mine) is True
    assert processes.is_alive(elsewhere) is None
    monkeypatch.setattr(processes, "_UNIQUE", "that of another machine")
    assert processes.this_process() != mine
    assert processes.is_alive(mine) is None


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["/usr/bin/lfgpods"], "cli"),
        (["/x/site-packages/lfgpods/__main__.py"], "cli"),
        (["/srv/app/__main__.py"], "__main__.py"),
        (["manage.py", "runserver"], "manage.py"),
        (["-c"], Path(sys.executable).name),
        ([], Path(sys.executable).name),
    ],
)
def test_a_program_has_a_name(argv: list[str], name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert processes.program() == name
    assert processes.user()
