"""lfgpods.testing, used as a third party would."""

from __future__ import annotations

import pytest

import lfgpods
from lfgpods import testing
from lfgpods.testing import EmbeddedLfgpods

pytest_plugins = ["lfgpods.testing"]


def test_the_fixture_also_serves_the_python_functions(lfgpods_embedded: EmbeddedLfgpods) -> None:
    made, pod = lfgpods.manage_kubernetes_pod(project_id="a")
    assert made
    assert pod is not None
    assert lfgpods.execute_command_in_pod(project_id="a", command="echo hello") == (True, "hello\n", "")
    assert [found.namespace for found in lfgpods_embedded.pods.list()] == ["proj-a"]
    assert lfgpods.delete_kubernetes_pod(project_id="a", preserve_data=False)


def test_without_pytest_only_the_fixture_fails() -> None:
    with pytest.raises(RuntimeError, match="pip install pytest"):
        testing._without_pytest()
