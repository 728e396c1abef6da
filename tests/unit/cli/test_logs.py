"""What is logged, where it goes, and that logging never fails a command."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lfgpods.cli import logs
from lfgpods.cli.logs import configured, write_traceback
from lfgpods.core import text

log = logging.getLogger("lfgpods")
child = logging.getLogger("lfgpods.hosts.ssh")


@pytest.fixture(autouse=True)
def no_known_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_known", set())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new" / "lfgpods.log"


def log_all_levels() -> None:
    child.debug("a %s", "detail")
    log.info("a step")
    log.warning("a warning")
    log.error("an error")


@pytest.mark.parametrize(
    ("verbosity", "said"),
    [
        (0, ["Warning: a warning", "Error: an error"]),
        (1, ["Info: a step", "Warning: a warning", "Error: an error"]),
        (2, ["Debug: a detail", "Info: a step", "Warning: a warning", "Error: an error"]),
        (5, ["Debug: a detail", "Info: a step", "Warning: a warning", "Error: an error"]),
    ],
)
def test_stderr_has_what_verbose_asks_for_and_the_file_has_everything(
    verbosity: int, said: list[str], file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with configured(verbosity, file):
        log_all_levels()
    out, err = capsys.readouterr()
    assert (out, err.splitlines()) == ("", said)
    lines = file.read_text().splitlines()
    assert [line.split(maxsplit=3)[1:2] + line.split(maxsplit=3)[3:] for line in lines] == [
        ["DEBUG", "a detail"], ["INFO", "a step"], ["WARNING", "a warning"], ["ERROR", "an error"],
    ]  # fmt: skip
    assert lines[0].split()[2] == str(os.getpid())


def test_a_command_shows_each_warning_once_and_logs_it_every_time(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        with configured(1, file):
            log_all_levels()
            log.warning("another warning")
            log_all_levels()
        said = ["Info: a step", "Warning: a warning", "Error: an error", "Warning: another warning", "Info: a step"]
        assert capsys.readouterr().err.splitlines() == said
    assert file.read_text().count("a warning") == 4


def test_the_file_is_private_and_made_only_when_there_is_something_to_write(file: Path) -> None:
    with configured(0, file):
        assert not file.parent.exists()
        log.debug("x")
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_logging_is_restored_afterwards(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (log.level, list(log.handlers))
    missing: dict[str, str] = {}
    with configured(2, file):
        with pytest.raises(KeyError), configured(0, file):
            log.info(missing["quiet"])
        log.info("loud")
    assert (log.level, log.handlers) == before
    assert capsys.readouterr().err == "Info: loud\n"


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("never shown")

    __repr__ = __str__


@pytest.mark.parametrize(
    ("message", "args"),
    [
        ("%d steps", ("many",)), ("%s %s", ("one",)), ("100%", ("x",)), ("%s", (Hostile(),)), (Hostile(), ()),
        ("\ud800", ()), ("%(a)s", ({},)), ("", ()), ("x" * 300_000, ()),
    ],
)  # fmt: skip
def test_a_record_that_cannot_be_formatted_fails_nothing(
    message: object,
    args: tuple[object, ...],
    file: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log, "propagate", False)  # pytest's own handler raises what it cannot format
    with configured(2, file):
        log.warning(message, *args)
        log.warning("next")
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    assert err.splitlines()[-1] == "Warning: next"
    assert len(err.splitlines()) <= 2
    assert len(file.read_text()) < 2 * logs.MAX_RECORD


def test_a_traceback_is_in_the_file_only_and_no_text_looks_like_another_record(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with configured(2, file):
        try:
            raise ValueError("bad\n2026-01-01T00:00:00.000Z INFO forged \x1b[2J")
        except ValueError:
            log.exception("it broke\r\n2026-01-01T00:00:00.000Z INFO forged %s", "\x1b[2J\u202e")
    err, written = capsys.readouterr().err, file.read_text()
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err
    assert [line for line in written.splitlines() if not line.startswith("    ")] == written.splitlines()[:1]
    assert "Traceback (most recent call last):" in written
    assert "ValueError: bad" in written
    for shown in (err, written):
        assert all(char.isprintable() or char == "\n" for char in shown)


def test_secrets_are_masked_everywhere(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text.mask(["hunter2-x"])
    key = "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0\nc2VjcmV0\n-----END RSA PRIVATE KEY-----"
    with configured(2, file):
        log.info("key %s, %r and %s", key, {"k": key}, "hunter2-x")
        child.info("in the message: hunter2-x")
        log.info("%(password)s", {"password": "hunter2-x"})
        try:
            try:
                raise ValueError(key)
            except ValueError as error:
                raise RuntimeError("token=c2VjcmV0 hunter2-x") from error
        except RuntimeError:
            log.exception("after %s", "hunter2-x")
    for shown in (capsys.readouterr().err, file.read_text()):
        assert "***" in shown
        assert "c2VjcmV0" not in shown
        assert "hunter2" not in shown


@pytest.mark.parametrize("path", ["/proc/no/such/folder/log", "/", "/dev/full", "/dev/null/log"])
def test_a_file_that_cannot_be_written_fails_nothing(path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with configured(1, Path(path)):
        log_all_levels()
    assert capsys.readouterr().err.splitlines()[0] == "Info: a step"
    assert "could not be written" in write_traceback(ValueError("x"), "a bug", Path(path))


def test_a_missing_stderr_fails_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    with configured(2, file):
        log_all_levels()
    assert "an error" in file.read_text()


def test_the_traceback_of_a_bug_goes_to_the_file(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="hunter2") as bug:
        raise ValueError("password=hunter2")
    assert write_traceback(bug.value, "a bug", file) == f"the traceback is in {file}"
    assert capsys.readouterr().err == ""
    assert "a bug\n    Traceback" in file.read_text()
    assert "hunter2" not in file.read_text()


WRITER = """
import logging, sys
from pathlib import Path
from lfgpods.cli import logs
logs.FILE_SIZE = 20_000
with logs.configured(0, Path(sys.argv[1])):
    for i in range(100):
        logging.getLogger("lfgpods").info("%s-%s %s", sys.argv[2], i, "x" * 40)
"""


def test_many_processes_lose_no_record_when_a_file_is_full(file: Path) -> None:
    root = str(Path(__file__).parents[3])
    workers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(file), str(n)], env={**os.environ, "PYTHONPATH": root})
        for n in range(6)
    ]
    assert [worker.wait(60) for worker in workers] == [0] * 6
    files = sorted(path.name for path in file.parent.iterdir())
    assert files == ["lfgpods.log", "lfgpods.log.1", "lfgpods.log.2"]
    lines = [line for name in files for line in (file.parent / name).read_text().splitlines()]
    assert len({line.split()[3] for line in lines}) == len(lines) == 600
    assert all((file.parent / name).stat().st_mode & 0o777 == 0o600 for name in files)


@pytest.mark.parametrize("others", [[], ["lfgpods.log"]])
def test_a_full_file_that_another_process_just_moved_is_left_there(others: list[str], tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"lfgpods.log.{number}").write_text(str(number))
    for name in others:
        (tmp_path / name).write_text("new")
    full = os.open(tmp_path / "lfgpods.log.1", os.O_RDONLY)
    logs._File(tmp_path / "lfgpods.log")._move_away(full)
    os.close(full)
    assert [(tmp_path / f"lfgpods.log.{number}").read_text() for number in (1, 2)] == ["1", "2"]


def test_importing_lfgpods_configures_nothing() -> None:
    code = "import lfgpods, logging; lfgpods.PodManager; log = logging.getLogger('lfgpods'); print(log.level, log.propagate)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0 True\n"
