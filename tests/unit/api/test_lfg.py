"""The three functions that LFG calls never raise an LfgpodsError."""

from __future__ import annotations

import inspect
import logging
from typing import Any

import pytest

import lfgpods
from lfgpods.api import lfg
from lfgpods.api.shared import SharedManager
from lfgpods.core.errors import HostError, OutcomeUnknownError
from lfgpods.core.owners import Owner
from lfgpods.core.settings import Settings
from lfgpods.exec.command import Command
from tests.samples import POD

pytestmark = pytest.mark.usefixtures("empty_folder")


def test_the_signatures_match_the_calls_of_lfg() -> None:
    def parameters(function: Any) -> dict[str, Any]:
        return {name: parameter.default for name, parameter in inspect.signature(function).parameters.items()}

    owner = {"project_id": None, "conversation_id": None}
    assert parameters(lfgpods.manage_kubernetes_pod) == {**owner, "image": None, "resource_limits": None}
    assert parameters(lfgpods.execute_command_in_pod) == {**owner, "command": None}
    assert parameters(lfgpods.delete_kubernetes_pod) == {**owner, "preserve_data": True}


def test_a_failure_is_logged_and_returns_false(caplog: pytest.LogCaptureFixture) -> None:
    assert lfgpods.manage_kubernetes_pod(project_id="x") == (False, None)
    success, stdout, stderr = lfgpods.execute_command_in_pod(project_id="x", command="true")
    assert (success, stdout) == (False, "")
    assert "no Kubernetes host" in stderr
    assert lfgpods.delete_kubernetes_pod(project_id="x") is False
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 3


@pytest.mark.parametrize("ids", [{}, {"project_id": ""}, {"conversation_id": None}, {"project_id": "\n"}])
def test_an_invalid_owner_is_a_failure(ids: dict[str, Any]) -> None:
    assert lfgpods.manage_kubernetes_pod(**ids) == (False, None)
    assert lfgpods.execute_command_in_pod(**ids, command="true")[0] is False
    assert lfgpods.delete_kubernetes_pod(**ids) is False


class FakeManager:
    """A PodManager with prepared answers."""

    error: Exception | None = None
    asked: list[tuple[str, Any]]

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def close(self) -> None: ...

    def _answer(self, verb: str, *asked: Any) -> None:
        FakeManager.asked = [(verb, asked)]
        if FakeManager.error:
            raise FakeManager.error

    def ensure(self, owner: Owner, request: Any, *, conversation_id: str | None) -> Any:
        self._answer("ensure", owner, request, conversation_id)
        return POD

    def exec(self, owner: Owner, command: Command) -> Any:
        self._answer("exec", owner, command)
        return lfgpods.ExecResult(3, b"out \xff", b"err")

    def delete(self, owner: Owner, *, purge: bool) -> None:
        self._answer("delete", owner, purge)


@pytest.fixture
def manager(monkeypatch: pytest.MonkeyPatch) -> type[FakeManager]:
    monkeypatch.setattr(lfg, "shared", SharedManager(FakeManager))  # type: ignore[arg-type]
    monkeypatch.setattr(FakeManager, "error", None)
    return FakeManager


def test_the_three_functions_pass_their_arguments_to_the_manager(manager: type[FakeManager]) -> None:
    success, pod = lfgpods.manage_kubernetes_pod(7, "c", "python:3.12", {"memory": "2Gi"})  # type: ignore[arg-type]
    assert (success, pod) == (True, POD)
    [(_, (owner, request, conversation_id))] = manager.asked
    assert (owner, conversation_id) == (Owner.project("7"), "c")
    assert (request.image, request.memory) == ("python:3.12", "2Gi")

    assert lfgpods.execute_command_in_pod(project_id="p", command="cd /x && y") == (False, "out \ufffd", "err")
    assert manager.asked == [("exec", (Owner.project("p"), Command("cd /x && y")))]
    lfgpods.execute_command_in_pod(conversation_id="c", command=["a", "b c"])
    assert manager.asked == [("exec", (Owner.conversation("c"), Command(argv=("a", "b c"))))]

    for preserve, purge in ((True, False), (False, True)):
        assert lfgpods.delete_kubernetes_pod(project_id="p", preserve_data=preserve) is True
        assert manager.asked == [("delete", (Owner.project("p"), purge))]


def test_the_output_before_an_unknown_outcome_is_returned(manager: type[FakeManager]) -> None:
    error = OutcomeUnknownError("outcome unknown", "look")
    error.stdout, error.stderr = b"half", b"some "
    manager.error = error
    assert lfgpods.execute_command_in_pod(project_id="p", command="x") == (False, "half", "some outcome unknown")
    manager.error = HostError("gone", "look")
    assert lfgpods.execute_command_in_pod(project_id="p", command="x") == (False, "", "gone")
