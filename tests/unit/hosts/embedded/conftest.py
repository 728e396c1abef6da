"""A clean embedded host for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lfgpods.pods import rollout
from lfgpods.testing import EmbeddedLfgpods, embedded_host


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Iterator[EmbeddedLfgpods]:
    monkeypatch.setattr(rollout, "GRACE", 0.0)
    with embedded_host() as found:
        yield found
