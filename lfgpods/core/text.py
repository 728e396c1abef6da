"""Makes text safe to show and to store: no control characters, no secrets.

A secret is a value that was passed to `mask`, or text that looks like one. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

MASK = "***"
_SHORTEST = 4
"""A shorter secret would match everywhere, and masking it would reveal it."""
_SHORTEST_LINE = 16
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}

_WORDS = r"(?:password|passwd|passphrase|token|secret|api[-_]?key)"
_VALUE = r"""(?:"(?:[^"\\]|\\.)*"?|'(?:[^'\\]|\\.)*'?|\S+)"""
_PATTERNS = tuple(
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), rf"\1{MASK}")
    for pattern in (
        r"(-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----).*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)",
        r"(authorization\\*[\"']?\s*[=:]\s*)[^\r\n]+",
        r"(\bbearer\s+)[\w.~+/=-]+",
        rf"({_WORDS}\\*[\"']?\s*[=:]\s*){_VALUE}",
        rf"(--[\w-]{{0,40}}{_WORDS}[\"']?,?\s+){_VALUE}",
        r"(://)[^\s/?#]{0,300}@",
        r"(://)[^\s/:@]{0,300}:(?!\d+[/?#])\S{0,300}@",
    )
)
_URL_PASSWORD = re.compile(r"[\w+.-]+://[^\s/:@]*:(.+)@")

_known: set[str] = set()


def printable(text: str) -> str:
    """TEXT with control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def duration(text: str) -> float:
    """The seconds in a duration such as 90s, 12h, 30d or 2w. Raises ValueError."""
    match = re.fullmatch(r"([0-9]{1,6})([smhdw])", text.strip())
    if match is None:
        raise ValueError(f"not a time: {text!r}")
    return float(int(match[1]) * _SECONDS[match[2]])


def one_line(text: str, longest: int = 300) -> str:
    """TEXT masked, in valid UTF-8, with white space collapsed, cut to LONGEST characters."""
    line = " ".join(masked(text).encode(errors="backslashreplace").decode().split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def mask(values: Iterable[str | None]) -> None:
    """Treat VALUES as secret from now on, so that `masked` removes them. Of a URL, the password is secret too."""
    for value in filter(None, values):
        found = _URL_PASSWORD.match(value)
        lines = [line.strip() for line in value.splitlines()]
        _known.update(
            form
            for secret in (value.strip(), found[1] if found else "")
            if len(secret) >= _SHORTEST
            for form in (secret, repr(secret)[1:-1], secret.replace("\n", "\\n"))
        )
        _known.update(line for line in lines if len(line) >= _SHORTEST_LINE)


def masked(text: str) -> str:
    """TEXT with known secrets, and text that looks like one, replaced by MASK."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, MASK)
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
