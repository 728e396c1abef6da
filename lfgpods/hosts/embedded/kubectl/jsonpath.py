"""The part of kubectl's jsonpath for lists: `{.items[*].a.b}` and `{range .items[*]}...{end}`. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from lfgpods.core.objects import Object

_STEP = re.compile(r"\.((?:[\w/-]|\\\.)+)|\[\*\]|\[\?\(@\.(\w+)==\"([^\"]*)\"\)\]")
_LIST = re.compile(r"\{\.items\[\*\]((?:\.[\w]+)+(?:\[\*\])?)\}")
_LINES = re.compile(r"\{range \.items\[\*\]\}(.*)\{end\}", re.DOTALL)
_PART = re.compile(r'\{"((?:[^"\\]|\\.)*)"\}|\{(\.[^{}]*)\}')
_ESCAPES = {"\\t": "\t", "\\n": "\n", '\\"': '"', "\\\\": "\\"}

_Step = Callable[[Any], Iterable[Any]]


def compiled(template: str, show: Callable[[Any], str]) -> Callable[[Sequence[Object]], str] | None:
    """A function that prints a list by TEMPLATE, with SHOW for each value; None if the template is not supported."""
    if match := _LIST.fullmatch(template):
        steps = _steps(match[1])
        if steps is None:
            return None
        path = steps
        return lambda items: " ".join(show(value) for item in items for value in _values(item, path))
    if (match := _LINES.fullmatch(template)) and (parts := _parts(match[1], show)) is not None:
        return lambda items: "".join(part(item) for item in items for part in parts)
    return None


def _parts(text: str, show: Callable[[Any], str]) -> list[Callable[[Object], str]] | None:
    found: list[Callable[[Object], str]] = []
    position = 0
    while position < len(text):
        match = _PART.match(text, position)
        if match is None:
            return None
        position = match.end()
        if match[2] is None:
            literal = re.sub(r"\\.", lambda escape: _ESCAPES.get(escape[0], escape[0]), match[1])
            found.append(lambda item, literal=literal: literal)  # type: ignore[misc]
        elif (path := _steps(match[2])) is not None:
            found.append(lambda item, path=path: " ".join(map(show, _values(item, path))))  # type: ignore[misc]
        else:
            return None
    return found


def _steps(text: str) -> list[_Step] | None:
    found: list[_Step] = []
    position = 0
    while position < len(text):
        match = _STEP.match(text, position)
        if match is None:
            return None
        position = match.end()
        if match[1] is not None:
            found.append(_field(match[1].replace("\\.", ".")))
        else:
            found.append(_every if match[2] is None else _where(match[2], match[3]))
    return found


def _field(name: str) -> _Step:
    return lambda value: [value[name]] if isinstance(value, dict) and value.get(name) is not None else []


def _every(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else []


def _where(name: str, wanted: str) -> _Step:
    return lambda value: [one for one in _every(value) if isinstance(one, dict) and one.get(name) == wanted]


def _values(value: Any, steps: Sequence[_Step]) -> Iterator[Any]:
    if not steps:
        yield value
        return
    for below in steps[0](value):
        yield from _values(below, steps[1:])
