from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lfgpods.cli.output import (
    Format,
    show_changes,
    show_deletion,
    show_error,
    show_orphans,
    show_pod,
    show_pods,
    show_synced,
)
from lfgpods.core.changes import Action, Change, Outcome
from lfgpods.core.errors import KubernetesError
from lfgpods.core.owners import Owner
from lfgpods.core.pod import Deletion, State
from lfgpods.core.text import printable
from lfgpods.fleet.sync import Synced
from tests.samples import POD

FIELDS = {
    "project_id", "conversation_id", "namespace", "pod_name", "status", "reason", "image", "resource_limits",
    "storage_size", "restricted", "storage_class", "volume_nodes", "runtime_class", "volume", "service_details", "created_at", "started_at", "last_used_at", "differences",
    "notices",
}  # fmt: skip


def test_the_json_fields_are_stable() -> None:
    shown = json.loads(show_pod(POD, Format.JSON))
    assert set(shown) == FIELDS
    assert set(shown["resource_limits"]) == {"memory", "cpu", "memory_requests", "cpu_requests"}
    assert set(shown["service_details"]) == {"access_url", "node_port", "service_name", "cluster_ip", "ports"}
    assert shown["service_details"]["ports"] == [{"port": 8080, "node_port": 30001, "url": "http://h:30001"}]
    assert json.loads(show_pods([POD], Format.JSON)) == [shown]
    assert yaml.safe_load(show_pod(POD, Format.YAML)) == shown


def test_names_can_be_passed_to_kubectl() -> None:
    assert show_pods([POD, replace(POD, namespace="proj-b")], Format.NAME) == "proj-my-app--x\nproj-b"


def test_pods_as_a_table() -> None:
    table = show_pods([POD, replace(POD, owner=Owner.conversation("42"), status=State.DELETED, ports=())], Format.TABLE)
    header, first, second = table.splitlines()
    assert header.split() == ["OWNER", "STATUS", "IMAGE", "AGE", "VOLUME", "LAST", "USED", "URL", "NAMESPACE"]
    assert first.startswith("project/My App  ")
    assert "http://h:30001" in first
    assert second.split()[:2] == ["conversation/42", "deleted"]
    assert "lfgpods create" in show_pods([], Format.TABLE)


def test_a_pod_is_one_line_for_each_fact_and_loads_no_library() -> None:
    shown = show_pod(replace(POD, started_at=None, reason="one\ntwo " + 99 * "long "), Format.TABLE)
    assert [line.split(":  ")[0].rstrip(":") for line in shown.splitlines()] == [
        "Status", "Project", "Conversation", "Namespace", "Pod", "Image", "CPU", "Memory", "Volume", "Access URL",
    ]  # fmt: skip
    assert {line.index(line.split(":")[1].strip()) for line in shown.splitlines()} == {len("Conversation:  ")}
    show = "from tests.samples import POD; from lfgpods.cli.output import *; show_pod(POD, Format.TABLE); import sys"
    subprocess.run([sys.executable, "-c", f"{show}; sys.exit('rich' in sys.modules)"], check=True)


def test_a_failed_pod_says_why() -> None:
    assert "failed (no node can take the pod)" in show_pod(
        replace(POD, status=State.FAILED, reason="no node can take the pod"), Format.TABLE
    )


@given(st.text())
def test_no_text_controls_the_terminal(text: str) -> None:
    for shown in (printable(text), show_error(KubernetesError(text, text), Format.TABLE)):
        assert all(char.isprintable() or char == "\n" for char in shown)
    assert "\n" not in printable(text)


def test_a_pods_own_text_does_not_control_the_terminal() -> None:
    nasty = replace(
        POD, reason="\x1b[2J\x07", status=State.FAILED, owner=Owner(POD.owner.kind, "a\x1b[31m[bold]b[/bold]")
    )
    for shown in (show_pod(nasty, Format.TABLE), show_pods([nasty], Format.TABLE)):
        assert "\x1b" not in shown
        assert "[bold]b[/bold]" in shown


def test_an_error_is_two_lines_or_one_object() -> None:
    error = KubernetesError("it broke", "mend it", code="broken")
    assert show_error(error, Format.TABLE) == "Error: it broke\nHint: mend it"
    assert json.loads(show_error(error, Format.JSON)) == {
        "error": {"code": "broken", "message": "it broke", "hint": "mend it"}
    }


@pytest.mark.parametrize(("purged", "said"), [(False, "The data is kept in /v."), (True, "are gone.")])
def test_a_deletion_says_whether_the_data_is_kept(purged: bool, said: str) -> None:
    deletion = Deletion(Owner.project("a"), "proj-a", "/v", purged)
    assert show_deletion(deletion, Format.TABLE).endswith(said)
    assert json.loads(show_deletion(deletion, Format.JSON)) == {
        "owner": "project/a", "namespace": "proj-a", "volume": "/v", "purged": purged,
    }  # fmt: skip


def test_a_sync_says_what_it_changed() -> None:
    a, b = Owner.project("a"), Owner.conversation("b")
    synced = Synced(3, added=(a,), changed=(), removed=(b, a), problems=("a folder is gone",))
    assert json.loads(show_synced(synced, Format.JSON)) == {
        "pods": 3, "added": ["project/a"], "changed": [], "removed": ["conversation/b", "project/a"],
        "problems": ["a folder is gone"],
    }  # fmt: skip
    assert show_synced(synced, Format.NAME).splitlines() == ["proj-a", "conv-b", "proj-a"]
    assert show_synced(synced, Format.TABLE) == (
        "Found 3 pods and kept volumes in the cluster. Database updated: 1 added, 2 removed."
    )
    assert show_synced(Synced(1, (), (), (), ()), Format.TABLE) == (
        "Found 1 pod or kept volume in the cluster. Database up to date."
    )


def test_nothing_to_clean_up() -> None:
    assert show_orphans([], Format.TABLE) == "Nothing to clean up."
    assert show_orphans([], Format.JSON) == "[]"


CHANGE = Change(
    7, POD.owner, Action.CREATE, "ada", "cli on laptop", "busybox:1.36", "2026-01-01T00:00:00.000Z", 2.345, Outcome.FAILED, "no node"
)  # fmt: skip


def test_changes_as_a_table() -> None:
    running = replace(CHANGE, owner=None, action=Action.GC, duration=None, outcome=Outcome.RUNNING, detail="", error="")
    header, first, second = show_changes([CHANGE, running], Format.TABLE).splitlines()
    assert header.split() == ["WHEN", "OWNER", "ACTION", "OUTCOME", "TOOK", "WHO", "FROM", "DETAIL"]
    assert re.split(" {2,}", first)[1:] == [
        "project/My App", "create", "failed", "2.3s", "ada", "cli on laptop", "busybox:1.36: no node",
    ]  # fmt: skip
    assert second.split()[1:] == ["-", "gc", "running", "-", "ada", "cli", "on", "laptop", "-"]
    assert show_changes([], Format.TABLE) == "No changes yet."


def test_changes_as_data() -> None:
    shown = {
        "id": 7, "owner": "project/My App", "action": "create", "who": "ada", "origin": "cli on laptop",
        "detail": "busybox:1.36", "started_at": "2026-01-01T00:00:00.000Z", "duration": 2.345, "outcome": "failed",
        "error": "no node",
    }  # fmt: skip
    assert json.loads(show_changes([CHANGE], Format.JSON)) == [shown]
    assert yaml.safe_load(show_changes([CHANGE], Format.YAML)) == [shown]
    assert json.loads(show_changes([replace(CHANGE, owner=None)], Format.JSON))[0]["owner"] is None
    assert show_changes([CHANGE, replace(CHANGE, id=6)], Format.NAME) == "7\n6"


@pytest.mark.parametrize("field", ["who", "origin", "detail", "error"])
def test_no_field_of_a_change_controls_the_terminal(field: str) -> None:
    hostile: dict[str, str] = {field: "\x1b[2J\nforged\r\u202e"}
    table = show_changes([replace(CHANGE, **hostile)], Format.TABLE)  # type: ignore[arg-type]
    assert len(table.splitlines()) == 2
    assert all(char.isprintable() or char == "\n" for char in table)


@pytest.mark.parametrize(("seconds", "said"), [(0.04, "0.0s"), (59.9, "59.9s"), (61, "61s"), (150, "2m"), (9000, "2h")])
def test_the_duration_of_a_change(seconds: float, said: str) -> None:
    assert f" {said} " in show_changes([replace(CHANGE, duration=seconds)], Format.TABLE)
