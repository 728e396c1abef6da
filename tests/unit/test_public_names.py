"""What `import lfgpods` offers."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lfgpods


def test_type_checkers_and_the_interpreter_see_the_same_public_names() -> None:
    tree = ast.parse(Path(lfgpods.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    seen = {alias.name: node.module for node in imports for alias in node.names}
    assert seen == {name: f"lfgpods.{home}" for name, home in lfgpods._HOME_OF.items()}
    assert sorted(seen) == sorted(lfgpods.__all__)


def test_every_public_name_can_be_imported() -> None:
    for name in lfgpods.__all__:
        assert getattr(lfgpods, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lfgpods.nonsense
