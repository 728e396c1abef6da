"""The command line without a host: usage, exit codes, and what goes to which stream."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import lfgpods
from lfgpods.cli import main

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
        (["exec", "--project-id", "x"], 125, "no command"),
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


@pytest.mark.parametrize("asked", [["-o", "json"], ["--output=json"], ["--output", "json"], ["-ojson"]])
def test_with_json_an_error_is_one_object(asked: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", "--project-id", "x", "--nonsense", *asked]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert set(json.loads(err)["error"]) == {"code", "message", "hint"}


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "create" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"lfgpods {lfgpods.__version__}\n"
    for command in ("create", "exec", "status", "list", "delete"):
        assert main([command, "--help"]) == 0
        assert "lfgpods" in capsys.readouterr().out


def test_a_dry_run_needs_no_host_and_writes_nothing(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["create", "--project-id", "my-app", "--dry-run", "--image", "python:3.12", "--port", "8000"]) == 0
    objects = list(yaml.safe_load_all(capsys.readouterr().out))
    assert [obj["kind"] for obj in objects] == [
        "Namespace", "PersistentVolume", "PersistentVolumeClaim", "Deployment", "Service",
    ]  # fmt: skip
    assert main(["create", "--project-id", "my-app", "--dry-run", "-o", "name"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "namespace/proj-my-app"
    assert list(empty_folder.iterdir()) == []


def test_a_setting_that_is_wrong_is_told_by_its_name(empty_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (empty_folder / ".env").write_text("K8S_SSH_HOST=h\nK8S_SSH_PORT=many\n")
    assert main(["list"]) == 2
    assert "K8S_SSH_PORT" in capsys.readouterr().err


def test_an_error_of_our_own_making_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a bug\nof ours")

    monkeypatch.setattr("lfgpods.settings.load_settings", fail)
    assert main(["create", "--project-id", "x"]) == 1
    assert capsys.readouterr().err.startswith("Error: internal error: RuntimeError: a bug of ours\nHint: ")


@pytest.mark.parametrize(("argv", "code"), [(["create", "--project-id", "x"], 130), (["exec", "-c", "x"], 130)])
def test_an_interrupt_is_130(
    argv: list[str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lfgpods.naming.resolve_owner", interrupt)
    assert main(argv) == code
    assert "Traceback" not in capsys.readouterr().err


def loaded_by(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\nprint(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_loads_nothing_heavy() -> None:
    heavy = {"fabric", "paramiko", "invoke", "peewee", "typer", "rich", "jinja2", "yaml", "dotenv", "lfgpods.manager"}
    assert not heavy & loaded_by("import lfgpods; lfgpods.__version__; dir(lfgpods)")
    assert not heavy - {"typer", "rich"} & loaded_by("import lfgpods.cli")


def test_everything_that_is_offered_can_be_had() -> None:
    for name in lfgpods.__all__:
        assert getattr(lfgpods, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lfgpods.nonsense
