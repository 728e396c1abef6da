"""README.md and docs/ agree with the code: links, commands, options, make targets and error codes."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from lfgpods.cli.app import application
from lfgpods.core import errors
from lfgpods.core.changes import Action, Change, Outcome
from lfgpods.fleet.orphans import Kind, Orphan
from lfgpods.store.copying import Copied
from tests.samples import POD

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`\n]+)`")


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text())


def _anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of PAGE."""
    headings = re.findall(r"^#+ (.*)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", _prose(page)):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{target} leads nowhere"
        assert not anchor or anchor in _anchors(file), f"{_name(file)} has no heading {anchor}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in seen:
            seen.add(page)
            targets = re.findall(r"\]\(([^)#\s]+\.md)", _prose(page))
            waiting += [(page.parent / one).resolve() for one in targets if not one.startswith("http")]
    assert seen >= {page for page in PAGES if page.parent.name == "docs"}


def _shell_lines(page: Path) -> Iterator[list[str]]:
    """The simple commands in PAGE's shell blocks and inline code, as words."""
    text = page.read_text()
    lines = [line for language, block in _BLOCK.findall(text) if language == "sh" for line in _joined(block)]
    lines += [span for span in _SPAN.findall(_prose(page)) if span.startswith(("lfgpods ", "make "))]
    for line in lines:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|;&")
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|;&"):
                yield words
                words = []
            else:
                words.append(word)


def _joined(block: str) -> list[str]:
    return [line for line in block.replace("\\\n", " ").splitlines() if line.strip()]


def _command(words: list[str]) -> tuple[Any, list[str]]:
    """The command that WORDS name, and the words that follow its name."""
    command: Any = get_command(application())
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        assert words[0] in command.commands, f"there is no command {words[0]}"
        command, words = command.commands[words[0]], words[1:]
    return command, words


def _options(command: Any) -> set[str]:
    found = {"--help", "-h"}
    for parameter in command.params:
        found |= {one for one in (*parameter.opts, *parameter.secondary_opts) if one.startswith("-")}
    return found


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_command_and_option_that_a_page_shows_exists(page: Path) -> None:
    for words in _shell_lines(page):
        if words[:1] != ["lfgpods"] or words[1:2] == ["COMMAND"]:
            continue
        command, rest = _command(words[1:])
        ours = rest[: rest.index("--")] if "--" in rest else rest
        options = {word.partition("=")[0] for word in ours if re.match(r"--?[a-z]", word)}
        assert options <= _options(command), f"lfgpods {shlex.join(words[1:])}"


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_make_target_that_a_page_shows_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for words in _shell_lines(page):
        words = words[words.index("make") :] if "make" in words[:-1] else words
        if words[:1] == ["make"]:
            assert {word for word in words[1:] if "=" not in word} <= targets


def test_the_docs_tell_every_command_and_every_option() -> None:
    told = (ROOT / "docs" / "commands.md").read_text() + (ROOT / "docs" / "exec.md").read_text()
    words = {word for span in _SPAN.findall(told) for word in re.split(r"[ ,]+", span)}

    def untold(command: Any, name: str) -> Iterator[str]:
        for option in sorted(_options(command) - words):
            yield f"{name} {option}"
        for child, found in getattr(command, "commands", {}).items():
            if child not in words:
                yield f"{name} {child}"
            yield from untold(found, f"{name} {child}")

    assert not list(untold(get_command(application()), "lfgpods"))


def test_the_pages_about_commands_tell_no_option_that_there_is_not() -> None:
    waiting, known = [get_command(application())], set[str]()
    while waiting:
        command: Any = waiting.pop()
        known |= _options(command)
        waiting += getattr(command, "commands", {}).values()
    for name in ("commands.md", "exec.md"):
        for span in _SPAN.findall(_prose(ROOT / "docs" / name)):
            assert set(re.findall(r"(?<![\w-])--[a-z][\w-]*", span)) <= known, span


def _keys(data: object) -> Iterator[str]:
    if isinstance(data, dict):
        yield from data
        data = list(data.values())
    if isinstance(data, list):
        for item in data:
            yield from _keys(item)


def test_the_docs_tell_every_field_of_the_json() -> None:
    change = Change(1, None, Action.GC, "ada", "cli", "", "2026-01-01", None, Outcome.DONE, "")
    results = [POD, change, Orphan(Kind.RECORD, "proj-a", "", True), Copied("a", "b", 1, 1, 1)]
    told = set(_SPAN.findall((ROOT / "docs" / "commands.md").read_text()))
    assert {key for result in results for key in _keys(result.as_dict())} <= told  # type: ignore[attr-defined]


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_every_name_that_a_python_example_imports_exists(page: Path) -> None:
    for language, block in _BLOCK.findall(page.read_text()):
        if language == "python":
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom):
                    module = importlib.import_module(node.module or "")
                    assert all(hasattr(module, alias.name) for alias in node.names)


# The error codes. An AST finds them: class attributes `code`, `code=` in a call of an error class, and, where that is
# no constant, what its module assigns to `code` and keeps in dicts called ...HINTS (by key) or ...CODES (by value).

_IS_CODE = re.compile(r"[a-z]+(_[a-z]+)*")


def _constants(node: ast.AST) -> set[str]:
    found = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return {text for text in found if _IS_CODE.fullmatch(text)}


def _snake(reason: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", reason).lower()


def _codes_by_name(module: ast.Module) -> set[str]:
    """The codes that MODULE hands over by a variable or a dict."""
    assigned = {
        target.id: node.value
        for node in ast.walk(module)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found: set[str] = set()
    for name, value in assigned.items():
        if isinstance(value, ast.Dict) and name.endswith(("HINTS", "CODES")):
            entries = value.keys if name.endswith("HINTS") else value.values
            for entry in entries:
                known = assigned.get(entry.id) if isinstance(entry, ast.Name) else entry
                found |= {_snake(one.value) for one in [known] if isinstance(one, ast.Constant)}  # type: ignore[arg-type]
    for node in ast.walk(module):
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            if isinstance(target, ast.Name) and target.id == "code":
                found |= _constants(node.value)
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=True)
                found |= {
                    code
                    for name_of, value in pairs
                    if isinstance(name_of, ast.Name) and name_of.id == "code"
                    for code in _constants(value)
                }
    return found


def _codes_in(path: Path) -> Iterator[tuple[str, str]]:
    """Each error class and code that the file PATH raises or returns."""
    module = ast.parse(path.read_text())
    for node in ast.walk(module):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            continue
        raised = getattr(errors, node.func.id, None)
        if not (isinstance(raised, type) and issubclass(raised, errors.LfgpodsError)):
            continue
        for keyword in node.keywords:
            if keyword.arg != "code":
                continue
            if isinstance(keyword.value, ast.JoinedStr):
                assert ast.unparse(keyword.value) == "f'invalid_{kind}_class'"
                yield from ((raised.__name__, f"invalid_{kind}_class") for kind in ("runtime", "storage"))
            elif isinstance(keyword.value, ast.Attribute):
                continue  # the code of another error
            else:
                found = _constants(keyword.value)
                yield from ((raised.__name__, code) for code in found or _codes_by_name(module))


def _raised() -> set[tuple[str, str]]:
    classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.LfgpodsError)]
    found = {(one.__name__, one.code) for one in classes}
    for path in (ROOT / "lfgpods").rglob("*.py"):
        found |= set(_codes_in(path))
    return found


def _told() -> Iterator[tuple[str, int, str]]:
    """Class, exit code and code of each row in docs/errors.md."""
    sections = re.split(r"^## ", (ROOT / "docs" / "errors.md").read_text(), flags=re.MULTILINE)[1:]
    for section in sections:
        heading = re.match(r"(\w+) \(exit code (\d+)\)\n", section)
        assert heading, section[:40]
        for code in re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE):
            yield heading[1], int(heading[2]), code


def test_the_docs_tell_every_error_code_and_no_other() -> None:
    raised, told = _raised(), [(name, code) for name, _, code in _told()]
    assert raised - set(told) == set(), "docs/errors.md lacks these"
    assert set(told) - raised == set(), "nothing raises these"
    assert len(told) == len(set(told))


def test_the_docs_tell_the_exit_code_of_every_error_class() -> None:
    for name, exit_code, _ in _told():
        assert getattr(errors, name).exit_code == exit_code


def test_the_search_for_error_codes_sees_each_way_to_name_one() -> None:
    raised = {code for _, code in _raised()}
    assert {"no_such_pod", "host_lost", "node_cordoned", "invalid_port", "invalid_storage_class"} <= raised
    assert {"image_pull", "unbound_claim", "unauthorized", "refused", "disk_full", "volume_missing"} <= raised
