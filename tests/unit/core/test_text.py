"""Secrets and control characters are removed from text before anybody sees it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfgpods.core import text
from lfgpods.core.text import mask, masked, one_line

KEY = (
    "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0LWxpbmUtb25l\nc2VjcmV0LWxpbmUtdHdv\n-----END OPENSSH PRIVATE KEY-----"
)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_known", set())


@pytest.mark.parametrize(
    "given",
    [
        KEY,
        f"before {KEY} after",
        repr(KEY),
        json.dumps({"data": KEY}),
        "  | ".join(KEY.splitlines(keepends=True)),
        KEY.rpartition("-----END")[0],
        "password=SECRET-line rest",
        "DB_PASSWORD = SECRET-line",
        "passwd: SECRET-line",
        "--password SECRET-line",
        "--ssh-token=SECRET-line",
        "['--password', 'SECRET-line']",
        '{"token": "SECRET-line"}',
        '{\\"token\\": \\"SECRET-line\\"}',
        "token='a SECRET-line with blanks'",
        'password="a \\" SECRET-line',
        "api_key=SECRET-line",
        "Authorization: Bearer SECRET-line",
        "authorization: Digest username=x, response=SECRET-line",
        "{'Authorization': 'Basic SECRET-line'}",
        "sent bearer SECRET-line",
        "postgresql://ada:SECRET-line@db/pods",
        "https://SECRET-line@example.com/x.git",
        "mysql://ada:p@SECRET-line@db/pods",
        "mysql://ada:p/SECRET-line@db/pods",
        "PASSWORD=SECRET-line\nmore",
    ],
)
def test_text_that_looks_like_a_secret_is_masked(given: str) -> None:
    shown = masked(given)
    assert "***" in shown
    for part in ("SECRET-line", "c2VjcmV0"):
        assert part not in shown


@pytest.mark.parametrize(
    "text",
    [
        "applying Deployment proj-my-app-dep",
        "token is missing",
        "http://203.0.113.7:30001/a/b",
        "http://203.0.113.7:8080/@scope/name",
        "the password was refused",
        "ssh root@203.0.113.7",
        "automountServiceAccountToken",
    ],
)
def test_text_that_is_no_secret_stays(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize(
    "leak",
    [
        "login with hunter2-x failed", "'hunter2-x'", "hunter2-xhunter2-x", "line two: c2VjcmV0LWxpbmUtdHdv",
        "no marker\nc2VjcmV0LWxpbmUtb25l\nat all", "pa$$'w\"ord", repr("pa$$'w\"ord"), "db-pass is wrong", "db-pass",
    ],
)  # fmt: skip
def test_a_known_secret_is_masked_in_every_form(leak: str) -> None:
    mask([KEY, "hunter2-x", None, "", "pa$$'w\"ord", "postgresql://ada:db-pass@db/pods", "abc"])
    shown = masked(leak)
    for part in ("hunter2", "c2VjcmV0", 'w"ord', 'w\\"ord', "db-pass"):
        assert part not in shown
    assert masked("abc ada pods") == "abc ada pods"  # a secret that short would match everywhere


@given(st.text())
def test_one_line_returns_one_line_of_valid_utf_8(given: str) -> None:
    line = one_line(given * 20, 100)
    assert len(line) <= 100
    assert len(line.splitlines()) <= 1
    line.encode()


@pytest.mark.parametrize(
    "given", ["a" * 300_000, "://a:" * 60_000, "password" * 40_000, "-----BEGIN PRIVATE KEY" * 9_000]
)
def test_masking_long_text_is_quick(given: str) -> None:
    masked(given)
