"""Errors tell whether they say anything about a pod."""

from __future__ import annotations

import pytest

from lfgpods.core.errors import (
    ClusterUnreachableError,
    HostError,
    HostUnreachableError,
    KubernetesError,
    LfgpodsError,
    OutcomeUnknownError,
    StoreError,
    TimeLimitError,
)


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (HostUnreachableError("it is off"), "host_unreachable", 4),
        (HostUnreachableError("the link was cut", code="host_lost"), "host_lost", 4),
        (HostUnreachableError("it is full", code="busy"), "busy", 4),
        (ClusterUnreachableError("the API server is off"), "cluster_unreachable", 5),
        (TimeLimitError("it took too long"), "time_limit", 6),
    ],
)
def test_an_error_without_an_answer_says_nothing_about_a_pod(error: LfgpodsError, code: str, exit_code: int) -> None:
    assert error.is_unreachable
    assert (error.code, error.exit_code) == (code, exit_code)


@pytest.mark.parametrize("kind", [LfgpodsError, HostError, KubernetesError, OutcomeUnknownError, StoreError])
def test_any_other_error_is_an_answer(kind: type[LfgpodsError]) -> None:
    assert not kind("refused").is_unreachable
