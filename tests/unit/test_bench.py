"""The benchmark's own promises: rounds alternate, what is not to be measured is not, and a bound that is missed is told."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest

from tests.bench import __main__ as bench
from tests.bench import report
from tests.bench.create import KUBELET_LOOKS_EVERY, moments_between_looks
from tests.bench.measuring import Contender, Row, Sample, alternate, compare, peak_memory, steadiness

OURS = Sample("ours", (1.0, 1.0, 1.0, 4.0))
RIVAL = Sample("rival", (2.0, 2.0, 2.0, 2.0))


@pytest.mark.parametrize(
    ("row", "holds"),
    [
        (Row("no promise", 1.0), None),
        (Row("figure", 0.004, bound=0.005), True),
        (Row("figure", 0.006, bound=0.005), False),
        (Row("the ratio decides, not the figure", 9.0, ratio=1.2, bound=1.25), True),
        (Row("ratio", 0.1, ratio=1.3, bound=1.25), False),
        (Row("at least", 50.0, ratio=0.8, bound=0.7, at_least=True), True),
        (Row("at least", 50.0, ratio=0.6, bound=0.7, at_least=True), False),
    ],
)
def test_a_bound_holds_or_it_does_not(row: Row, holds: bool | None) -> None:
    assert row.holds is holds
    assert row.cells[-1] == {True: "yes", False: "NO", None: ""}[holds]


def test_ours_is_compared_by_medians_with_each_rival() -> None:
    ours, rival = compare(OURS, [RIVAL], {"rival": 0.5})
    assert (ours.figure, ours.p95, ours.holds) == (1.0, 4.0, None)
    assert (rival.figure, rival.ratio, rival.holds) == (2.0, 0.5, True)
    assert steadiness(OURS, 1.5).holds is False


def test_peak_memory_is_what_the_kernel_says_of_a_process_that_runs() -> None:
    assert peak_memory("Name:\tpython\nVmPeak:\t  900 kB\nVmHWM:\t  125000 kB\nVmRSS:\t  10 kB\n") == 128.0
    assert peak_memory("Name:\tpython\nState:\tZ (zombie)\n") == 0.0


def test_rounds_alternate_and_end_with_nothing_left() -> None:
    told: list[str] = []
    left: set[str] = set()

    def of(name: str) -> Contender[str]:
        def run(made: str) -> None:
            told.append(made)
            left.add(made)

        return Contender(name, lambda: name, run, left.remove)

    samples = alternate([of("a"), of("b")], 3)
    assert told == ["a", "b", *"abbaab"]
    assert not left
    assert [(one.name, len(one.seconds)) for one in samples] == [("a", 3), ("b", 3)]


def test_what_fails_is_cleaned_up_after_and_not_measured() -> None:
    left = ["made"]

    def fail(made: list[str]) -> None:
        raise AssertionError("the wrong answer")

    with pytest.raises(AssertionError, match="wrong answer"):
        alternate([Contender("fails", lambda: left, fail, list.clear)], 1)
    assert not left


def test_the_page_says_of_a_missed_bound_what_is_known_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "NOTES", {("create", "rival"): "The floor is the kubelet's."})
    missed = {"create": [Row("rival", 2.0, ratio=1.3, bound=1.25)], "startup": [Row("rival", 2.0, ratio=3, bound=2.5)]}
    page = report.page(20, [("Python", "3.11")], missed, {"create": "With kubectl.", "startup": "With typer."})
    assert "| rival | 2.00 s |  | 1.30 | at most 1.25 | NO |" in page
    assert "- **rival**: The floor is the kubelet's." in page
    assert "- **rival**: no note yet." in page


def test_a_section_that_there_is_not_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        bench.main(["nosuch"])
    assert "there is no section nosuch" in capsys.readouterr().err


@pytest.mark.parametrize("rounds", [5, 20, 40])
def test_creates_begin_at_moments_that_are_spread_evenly_over_kubelets_second(rounds: int) -> None:
    moments = sorted(islice(moments_between_looks(), 1, rounds + 1))  # the first belongs to the trial
    gaps = [after - before for before, after in pairwise([0.0, *moments, KUBELET_LOOKS_EVERY])]
    assert min(gaps) >= 0
    assert max(gaps) < 2 * KUBELET_LOOKS_EVERY / rounds
