"""The command line without a host: usage, exit codes, and what goes to which stream."""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import typer
import yaml

import lfgpods
from lfgpods import PodManager, State
from lfgpods.cli import main
from lfgpods.cli.app import _COMMANDS, application
from lfgpods.cli.commands.history import history
from lfgpods.core.changes import Change
from lfgpods.core.errors import KubernetesError
from lfgpods.core.owners import Owner
from lfgpods.core.pod import Pod
from tests.samples import POD
from tests.unit.cli.test_output import CHANGE

pytestmark = pytest.mark.usefixtures("empty_folder")


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["nonsense"], 2, "nonsense"),
        (["--nonsense"], 2, "--nonsense"),
        (["create"], 2, "no owner"),
        (["create", "--project-id", ""], 2, "empty"),
        (["create", "--project-id", "x", "--port", "abc"], 2, "--port"),
        (["create", "--project-id", "x", "--timeout", "-1"], 2, "--timeout"),
        (["create", "--project-id", "x", "--memory", "1GB"], 2, "quantity"),
        (["create", "--project-id", "x", "-o", "xml"], 2, "xml"),
        (["create", "--project-id", "x", "extra"], 2, "extra"),
        (["create", "--project-id", "x"], 2, "no Kubernetes host"),
        (["status", "--project-id", "x"], 2, "no Kubernetes host"),
        (["list"], 2, "no Kubernetes host"),
        (["delete", "--project-id", "x", "--purge"], 2, "no Kubernetes host"),
        (["history", "--project-id", ""], 2, "empty"),
        (["history", "--limit", "0"], 2, "--limit"),
        (["history"], 2, "no Kubernetes host"),
        (["-v", "list"], 2, "no Kubernetes host"),
        (["exec", "--project-id", "x"], 125, "no command"),
        (["-vv", "--verbose", "exec", "--project-id", "x"], 125, "no command"),
        (["exec", "--project-id", "x", "-c", "a", "--", "b"], 125, "two commands"),
        (["exec", "-c", "true"], 125, "no owner"),
        (["exec", "--project-id", "x", "--nonsense", "-c", "true"], 125, "--nonsense"),
        (["exec", "--project-id", "x", "-c", "true"], 125, "no Kubernetes host"),
    ],
)
def test_wrong_use_is_one_line_a_remedy_and_an_exit_code(
    argv: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == code
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert [line.split(":")[0] for line in lines] == ["Error", "Hint"], err
    assert said in lines[0]


@pytest.mark.parametrize("wrong", ["--nonsense", "--project-id", "--timeout=soon"])
def test_wrong_use_of_a_command_points_to_the_help_of_that_command(
    wrong: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["-v", "delete", wrong]) == 2
    assert "lfgpods delete --help" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("asked", [["-o", "json"], ["--output=json"], ["--output", "json"], ["-ojson"], ["-vojson"]])
def test_with_json_an_error_is_one_object(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", "--project-id", "x", "--nonsense", *asked]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert set(json.loads(err)["error"]) == {"code", "message", "hint"}


@pytest.mark.parametrize("status", State)
def test_every_status_can_be_listed(status: State, manager: Recorded) -> None:
    assert main(["list", "--status", status.value]) == 0
    assert manager.listed == [status]


def test_a_list_with_an_unknown_pod_says_why_it_is_unknown(
    manager: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.pods = (POD, replace(POD, status=State.UNKNOWN, reason="the node is silent"))
    assert main(["list", "-o", "name"]) == 4
    assert capsys.readouterr().err == "Warning: showing the last known state: the node is silent\n"


def test_a_status_that_does_not_exist_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--status", "nonsense"]) == 2
    assert "'unknown'" in capsys.readouterr().err


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "create" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lfgpods {lfgpods.__version__}\n"
    for command in ("create", "exec", "status", "list", "delete", "history"):
        assert main([command, "--help"]) == 0
        assert "lfgpods" in capsys.readouterr().out


def test_a_dry_run_needs_no_host_and_writes_nothing(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", "--project-id", "my-app", "--dry-run", "--image", "python:3.12", "--port", "8000"]) == 0
    objects = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [obj["kind"] for obj in objects] == [
        "Namespace", "PersistentVolume", "PersistentVolumeClaim", "Service", "NetworkPolicy", "LimitRange",
        "ResourceQuota", "Deployment",
    ]  # fmt: skip
    assert main(["create", "--project-id", "my-app", "--dry-run", "-o", "name"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "namespace/proj-my-app"
    assert list(empty_folder.iterdir()) == []


def test_an_error_names_the_setting_that_is_wrong(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (empty_folder / ".env").write_text("K8S_SSH_HOST=h\nK8S_SSH_PORT=many\n")
    assert main(["list"]) == 2
    assert "K8S_SSH_PORT" in capsys.readouterr().err


def test_the_traceback_of_an_internal_error_is_in_the_log_file_only(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug\nof ours, password=hunter2")

    monkeypatch.setattr("lfgpods.api.manager.PodManager.__init__", fail)
    assert main(["create", "--project-id", "x"]) == 1
    log = empty_folder / "data" / "lfgpods" / "lfgpods.log"
    assert capsys.readouterr().err.splitlines() == [
        "Error: internal error: RuntimeError: a bug of ours, password=***",
        f"Hint: Please report it; the traceback is in {log}.",
    ]
    assert "Traceback" in log.read_text()
    assert "hunter2" not in log.read_text()


def test_the_traceback_of_a_failure_is_in_the_log_file_and_wrong_use_leaves_none(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = empty_folder / "data"
    for argv in (["--version"], ["create", "--help"], ["nonsense"], ["list"], ["-vv", "create", "--project-id", "x"]):
        main(argv)
    assert not data.exists()

    def fail(*_: object, **__: object) -> None:
        raise KubernetesError("it broke", "mend it")

    monkeypatch.setattr("lfgpods.api.manager.PodManager.__init__", fail)
    assert main(["create", "--project-id", "x"]) == 5
    assert "Traceback" not in capsys.readouterr().err
    assert "KubernetesError: it broke" in (data / "lfgpods" / "lfgpods.log").read_text()


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["history"], []),
        (["-v", "history"], ["Info: step"]),
        (["history", "-v"], ["Info: step"]),
        (["--verbose", "history", "-v"], ["Debug: detail", "Info: step"]),
        (["history", "-vv", "-o", "name"], ["Debug: detail", "Info: step"]),
    ],
)
def test_verbose_may_stand_before_and_after_the_command(
    argv: list[str], said: list[str], manager: Recorded, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 0
    assert capsys.readouterr().err.splitlines() == said


class Recorded:
    """A manager with a history, which notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Owner | None, int]] = []
        self.listed: list[State | None] = []
        self.pods: Sequence[Pod] = ()

    def __enter__(self) -> Recorded:
        return self

    def __exit__(self, *exception: object) -> None:
        """Nothing is open."""

    def history(self, owner: Owner | None = None, limit: int = 20) -> list[Change]:
        logging.getLogger("lfgpods").debug("detail")
        logging.getLogger("lfgpods.api.manager").info("step")
        self.asked.append((owner, limit))
        return [CHANGE]

    def list(self, owner: Owner | None = None, *, status: State | None = None) -> Sequence[Pod]:
        self.listed.append(status)
        return self.pods


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()
    monkeypatch.setattr("lfgpods.api.manager.PodManager", lambda: recorded)
    return recorded


def test_the_history_of_one_owner_or_of_all(manager: Recorded, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["history"]) == 0
    assert "cli on laptop" in capsys.readouterr().out
    assert main(["history", "--project-id", "a", "--conversation-id", "b", "--limit", "3", "-o", "json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["owner"] == "project/My App"
    assert main(["history", "--conversation-id", "b", "-o", "name"]) == 0
    assert capsys.readouterr().out == "7\n"
    assert manager.asked == [(None, 20), (Owner.project("a"), 3), (Owner.conversation("b"), 20)]


def test_the_command_line_and_the_python_api_have_the_same_default_limit() -> None:
    by_command, by_method = (inspect.signature(call).parameters["limit"] for call in (history, PodManager.history))
    assert by_command.default == by_method.default == 20


@pytest.mark.parametrize(("argv", "code"), [(["create", "--project-id", "x"], 130), (["exec", "-c", "x"], 130)])
def test_an_interrupt_exits_with_130(
    argv: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lfgpods.core.owners.resolve_owner", interrupt)
    assert main(argv) == code
    assert "Traceback" not in capsys.readouterr().err


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_loads_nothing_heavy() -> None:
    heavy = {
        "fabric",
        "paramiko",
        "invoke",
        "peewee",
        "typer",
        "rich",
        "jinja2",
        "yaml",
        "dotenv",
        "lfgpods.api.manager",
    }
    assert not heavy & loaded_by("import lfgpods; lfgpods.__version__; dir(lfgpods)")
    assert not heavy - {"typer", "rich"} & loaded_by("import lfgpods.cli")
    for argv in (["--version"], ["--help"], ["create", "--help"]):
        loaded = loaded_by(f"from lfgpods.cli import main\nmain({argv!r})")
        assert not {"lfgpods.api.manager", "lfgpods.cli.logs", "platformdirs", "logging"} & loaded


def test_a_command_is_the_same_alone_as_among_all_commands() -> None:
    def commands(app: typer.Typer) -> dict[str, typer.core.TyperCommand]:
        return typer.main.get_command(app).commands  # type: ignore[attr-defined, no-any-return]

    whole = commands(application())
    assert set(whole) == {*_COMMANDS, "keeper", "db"}
    for name in _COMMANDS:
        (alone,) = commands(application(name)).values()
        context = typer.Context(alone, info_name=name)
        assert alone.get_help(context) == whole[name].get_help(context)
        assert alone.context_settings == whole[name].context_settings


def test_help_and_a_wrong_name_know_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help", "exec"]) == 0
    assert "keeper" in capsys.readouterr().out
    assert main(["exce"]) == 2
    assert "Did you mean 'exec'?" in capsys.readouterr().err


@pytest.mark.parametrize("group", ["keeper", "db"])
def test_a_group_without_a_command_is_one_line_of_error(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([group]) == 2
    assert capsys.readouterr().err == f"Error: missing command\nHint: See lfgpods {group} --help.\n"


def test_the_program_exits_with_its_code_and_flushes_its_output() -> None:
    code = """
import lfgpods.cli.app as app, sys
from lfgpods.cli.startup import program
sys.stderr.reconfigure(line_buffering=False)
app.main = lambda: print("said") or sys.stderr.write("whispered") and 3
program()
"""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run([sys.executable, "-c", code], env=buffered, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "said\n", "whispered")


def test_output_without_room_is_an_error_and_keeps_the_exit_code() -> None:
    def run(line: str) -> tuple[int, str]:
        words = ["sh", "-c", f'"$0" -m lfgpods {line}', sys.executable]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    code, said = run("--help >/dev/full")
    assert code == 1
    assert said.startswith("Error: the output cannot be written: No space left on device\nHint: ")
    assert run("--nonsense 2>/dev/full")[0] == 2
    assert run("exec 2>/dev/full")[0] == 125


def test_the_help_names_the_setting_of_a_default_as_the_settings_know_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    example = (Path(__file__).parents[3] / ".env.example").read_text()
    monkeypatch.setenv("COLUMNS", "200")
    named: dict[str, str] = {}
    for command in _COMMANDS:
        assert main([command, "--help"]) == 0
        text = " ".join(capsys.readouterr().out.split())
        named.update(re.findall(r"\[env: (\w+)(?:, default: ([^\]]+))?\]", text))
    assert len(named) == 11
    for name, default in named.items():
        assert f"\n{name}={default}\n" in example
