"""A clean embedded host for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lfgpods.testing import EmbeddedLfgpods, embedded_host


@pytest.fixture
def embedded() -> Iterator[EmbeddedLfgpods]:
    with embedded_host({"LFGPODS_START_GRACE": "0"}) as found:
        yield found
