"""Parses kubectl's command line: verb, flags, resources and selectors. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lfgpods.core.objects import Object
from lfgpods.hosts.embedded.cluster.errors import ApiError, KubectlError
from lfgpods.hosts.embedded.cluster.kinds import Kind, kind_called

# Some of these are accepted and ignored: there is one cluster and one user, and no list is too long.
_VALUES = {
    "as", "chunk-size", "cluster", "container", "context", "field-manager",
    "field-selector", "filename", "for", "grace-period", "kubeconfig", "namespace", "output", "patch", "raw",
    "replicas", "request-timeout", "selector", "server", "tail", "timeout", "type", "user",
}  # fmt: skip
_SWITCHES = {
    "all", "all-namespaces", "follow", "force", "force-conflicts", "ignore-not-found",
    "overwrite", "previous", "quiet", "server-side", "stdin", "tty", "validate", "wait", "watch",
}  # fmt: skip
_LETTERS = {
    "A": "all-namespaces", "c": "container", "f": "filename", "i": "stdin", "l": "selector", "n": "namespace",
    "o": "output", "p": "patch", "q": "quiet", "t": "tty", "w": "watch",
}  # fmt: skip
_OF_LOGS = {"f": "follow", "p": "previous"}


@dataclass(frozen=True)
class Arguments:
    """A parsed command line: the verb, its other words, its flags, and the command after `--`."""

    verb: str
    words: tuple[str, ...] = ()
    values: dict[str, str] = field(default_factory=dict)
    command: tuple[str, ...] | None = None

    @property
    def namespace(self) -> str:
        return self.values.get("namespace", "default")

    @property
    def output(self) -> str:
        return self.values.get("output", "")

    def value(self, name: str, default: str = "") -> str:
        return self.values.get(name, default)

    def on(self, name: str, *, default: bool = False) -> bool:
        return {"true": True, "false": False}.get(self.values.get(name, ""), default)

    def seconds(self, name: str) -> float | None:
        """The seconds of a duration such as 15s or 1m30s; None if it is missing or 0."""
        text = self.values.get(name)
        if text is None:
            return None
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|h|m|s|$)", text)
        if not parts or "".join(number + unit for number, unit in parts) != text:
            raise KubectlError(f'error: invalid argument "{text}" for "--{name}" flag: time: invalid duration "{text}"')
        return sum(float(number) * {"ms": 0.001, "h": 3600, "m": 60}.get(unit, 1) for number, unit in parts) or None


def parse(argv: Sequence[str]) -> Arguments:
    """Parse a command line. Raises KubectlError for an unknown flag."""
    values: dict[str, str] = {}
    words: list[str] = []
    command: tuple[str, ...] | None = None
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        if word == "--":
            command = tuple(rest)
            break
        if not word.startswith("-") or word == "-":
            words.append(word)
            continue
        name, sign, value = word.lstrip("-").partition("=")
        if not word.startswith("--"):
            letter, more = word[1], word[2:]
            name = _OF_LOGS.get(letter, "") if words[:1] == ["logs"] else ""
            name = name or _LETTERS.get(letter, "")
            if name in _SWITCHES and more:
                rest.insert(0, f"-{more}")
            elif more:
                sign, value = "=", more.removeprefix("=")
        if name in _SWITCHES:
            values[name] = value if sign else "true"
        elif name in _VALUES:
            if not sign and not rest:
                raise KubectlError(f"error: flag needs an argument: {word}")
            values[name] = value if sign else rest.pop(0)
        else:
            kind = "unknown flag" if word.startswith("--") else "unknown shorthand flag"
            raise KubectlError(f"error: {kind}: {word}")
    if not words:
        raise KubectlError("kubectl controls the Kubernetes cluster manager.", 0)
    return Arguments(words[0], tuple(words[1:]), values, command)


def references(words: Sequence[str]) -> list[tuple[Kind, str | None]]:
    """The kinds and names in `TYPE/NAME ...`, `TYPE NAME ...` or `TYPE,TYPE`; the name is None for all objects."""
    if not words:
        raise KubectlError("error: You must specify the type of resource to get.")
    if "/" in words[0]:
        found: list[tuple[Kind, str | None]] = []
        for word in words:
            type_, slash, name = word.partition("/")
            if not slash:
                raise KubectlError(
                    "error: there is no need to specify a resource type as a separate argument when passing arguments "
                    "in resource/name form"
                )
            found.append((_kind(type_), name))
        return found
    kinds = [_kind(word) for word in words[0].split(",")]
    names: list[str | None] = [*words[1:]]
    return [(kind, name) for kind in kinds for name in (names or [None])]


def _kind(word: str) -> Kind:
    kind = kind_called(word)
    if kind is None:
        raise KubectlError(f'error: the server doesn\'t have a resource type "{word}"')
    return kind


def label_selector(text: str) -> Callable[[Object], bool]:
    """A test for the labels of an object: `a=b`, `a!=b`, `a`, `!a`, `a in (b,c)`, `a notin (b)`, joined by commas."""
    tests: list[Callable[[dict[str, str]], bool]] = []
    for part in re.findall(r"[^,(]+(?:\([^)]*\))?", text):
        tests.append(_label_test(part.strip()))
    return lambda obj: all(test(obj["metadata"].get("labels") or {}) for test in tests)


def _label_test(part: str) -> Callable[[dict[str, str]], bool]:
    if match := re.fullmatch(r"(\S+)\s+(in|notin)\s+\(([^)]*)\)", part):
        key, word, values = match[1], match[2], [value.strip() for value in match[3].split(",")]
        return lambda labels: (labels.get(key) in values) == (word == "in")
    if match := re.fullmatch(r"([\w./-]+)\s*(=|==|!=)\s*([\w.-]*)", part):
        key, word, value = match[1], match[2], match[3]
        return lambda labels: (labels.get(key) == value) != (word == "!=")
    if match := re.fullmatch(r"(!?)([\w./-]+)", part):
        negated, name = bool(match[1]), match[2]
        return lambda labels: (name in labels) != negated
    raise ApiError("BadRequest", f'unable to parse requirement: found "{part}"')


def field_selector(text: str) -> Callable[[Object], bool]:
    """A test for the fields of an object, such as `type=Warning` or `metadata.name!=x`."""
    tests: list[tuple[list[str], str, bool]] = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"([\w.]+)(=|==|!=)(.*)", part)
        if match is None:
            raise ApiError("BadRequest", f'invalid field selector "{part}"')
        tests.append((match[1].split("."), match[3], match[2] != "!="))

    def matches(obj: Object) -> bool:
        for path, wanted, equal in tests:
            value: object = obj
            for step in path:
                value = value.get(step) if isinstance(value, dict) else None
            if (str("" if value is None else value) == wanted) != equal:
                return False
        return True

    return matches
