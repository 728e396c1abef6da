"""Command lines are parsed as kubectl parses them."""

from __future__ import annotations

import pytest

from lfgpods.hosts.embedded.cluster.errors import KubectlError
from lfgpods.hosts.embedded.cluster.kinds import DEPLOYMENT, POD
from lfgpods.hosts.embedded.kubectl.arguments import field_selector, label_selector, parse, references


def test_flags_are_allowed_anywhere_and_take_values_in_both_forms() -> None:
    arguments = parse(
        ["--context", "x", "get", "-n", "here", "pods", "--output=json", "-lapp=a", "--request-timeout=5s"]
    )
    assert (arguments.verb, arguments.words) == ("get", ("pods",))
    assert (arguments.namespace, arguments.output, arguments.value("selector")) == ("here", "json", "app=a")
    assert arguments.seconds("request-timeout") == 5


def test_the_words_after_two_dashes_are_the_command() -> None:
    arguments = parse(["exec", "-it", "pod", "--", "sh", "-c", "--"])
    assert (arguments.on("stdin"), arguments.on("tty")) == (True, True)
    assert (arguments.words, arguments.command) == (("pod",), ("sh", "-c", "--"))


@pytest.mark.parametrize(("text", "seconds"), [("15s", 15), ("1m30s", 90), ("500ms", 0.5), ("2", 2), ("0", None)])
def test_durations_have_the_format_of_go(text: str, seconds: float | None) -> None:
    assert parse(["get", f"--timeout={text}"]).seconds("timeout") == seconds


@pytest.mark.parametrize("word", ["--nonsense", "-Z", "--timeout=soon"])
def test_unknown_flags_and_bad_values_are_errors(word: str) -> None:
    with pytest.raises(KubectlError, match="error: "):
        parse(["get", word]).seconds("timeout")


@pytest.mark.parametrize("word", ["deploy", "deployment", "deployments", "deployments.apps", "deployment.apps"])
def test_a_kind_has_several_names(word: str) -> None:
    assert references([f"{word}/a", "po/b"]) == [(DEPLOYMENT, "a"), (POD, "b")]
    assert references([word, "a", "b"]) == [(DEPLOYMENT, "a"), (DEPLOYMENT, "b")]
    assert references([f"{word},pods"]) == [(DEPLOYMENT, None), (POD, None)]


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("", True), ("a=1", True), ("a==1", True), ("a!=1", False), ("a=2", False), ("b!=1", True), ("a", True),
        ("!a", False), ("b", False), ("!b", True), ("a in (1, 2)", True), ("a notin (1,2)", False), ("a=1,b=2", False),
        ("a=1,x.io/y in (z)", True),
    ],
)  # fmt: skip
def test_label_selectors_match_as_in_kubernetes(selector: str, matches: bool) -> None:
    assert label_selector(selector)({"metadata": {"labels": {"a": "1", "x.io/y": "z"}}}) is matches


def test_field_selectors_match_as_in_kubernetes() -> None:
    event = {"type": "Warning", "metadata": {"name": "x"}}
    assert field_selector("type=Warning,metadata.name=x")(event)
    assert not field_selector("type!=Warning")(event)
