"""recaption.compare.result: the figures of a comparison from its judgements."""

from __future__ import annotations

import pytest

from recaption.compare.result import Judged, compared, lines, share


def judged(winner: str | None, a_first: float | None, b_first: float | None, words: tuple[int, int] = (5, 5)) -> Judged:
    return Judged(winner=winner, p_a_first=a_first, p_b_first=b_first, words_a=words[0], words_b=words[1])


ROWS = [
    judged("a", 0.9, 0.8, (9, 5)),
    judged("a", 0.9, 0.8, (5, 9)),
    judged("b", 0.2, 0.1, (5, 9)),
    judged("tie", 0.9, 0.2),
    judged("equal", None, None),
    judged(None, 0.9, None),
]


def test_ties_count_as_a_half_and_missing_answers_not_at_all() -> None:
    found = compared("better", ROWS, images=8)
    assert (found.a_wins, found.b_wins, found.ties, found.equal, found.unanswered) == (2, 1, 1, 1, 3)
    assert (found.a_better.value, found.a_better.of) == (3 / 5, 5)
    assert found.verdict is None


def test_position_and_length_are_reported() -> None:
    found = compared("better", ROWS, images=6)
    # shown first and preferred: A in rows 1, 2, 4 and 6, B in rows 3 and 4
    assert (found.first.value, found.first.of) == (pytest.approx(6 / 9), 9)
    assert (found.longer.value, found.longer.of) == (pytest.approx(2 / 3), 3)
    assert found.words_a == pytest.approx(34 / 6)


@pytest.mark.parametrize(
    ("number", "of", "low", "high"),
    [(0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0), (300, 500, 0.5565, 0.6420)],
)
def test_the_interval_is_wilsons(number: float, of: int, low: float, high: float) -> None:
    found = share(number, of)
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))


def test_better_needs_an_interval_without_one_half() -> None:
    won, lost = judged("a", 0.9, 0.9), judged("b", 0.1, 0.1)
    assert compared("x", [won] * 300 + [lost] * 200, 500).verdict == "a"
    assert compared("x", [won] * 200 + [lost] * 300, 500).verdict == "b"
    assert compared("x", [won] * 260 + [lost] * 240, 500).verdict is None


def test_without_judgements_there_is_no_verdict() -> None:
    found = compared("better", [], images=3)
    assert found.verdict is None and found.words_a is None
    assert lines(found, "one", "other") == [
        "better: no verdict",
        "  images left out: 3; the judge gave no valid answer in at least one order",
    ]
