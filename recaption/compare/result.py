"""What the judgements of pairs of captions show: win rate, ties, position bias and lengths. Pure functions."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final, Literal

from recaption.formatting import number_of, percent

_Z: Final = 1.96  # 95 %
Verdict = Literal["a", "b"] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """A row of the table `comparisons`."""

    winner: str | None  # a | b | tie | equal; None: without an answer in one of the orders
    p_a_first: float | None
    p_b_first: float | None
    words_a: int
    words_b: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Share:
    """A share of `of`, with its 95 % interval; all None if `of` is 0."""

    value: float | None
    low: float | None
    high: float | None
    of: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The judgements of one judge.

    `a_better`: the share of decided images where A is better; ties and equal captions count as a half. Its interval is
    Wilson's, which is wider than needed for halves. `first`: the share of answers that prefer the caption shown first,
    0.5 without position bias. `longer`: of the images with a winner and captions of different lengths, the share
    where the longer caption won.
    """

    judge: str
    a_wins: int
    b_wins: int
    ties: int  # the two orders disagree
    equal: int  # equal captions
    unanswered: int  # images without an answer in one of the orders
    a_better: Share
    first: Share
    longer: Share
    words_a: float | None  # mean; None without rows
    words_b: float | None

    @property
    def verdict(self) -> Verdict:
        """The better side, if the interval of `a_better` does not contain one half."""
        low, high = self.a_better.low, self.a_better.high
        if low is None or high is None or low <= 0.5 <= high:
            return None
        return "a" if low > 0.5 else "b"


def compared(judge: str, rows: Sequence[Judged], images: int) -> Comparison:
    """The figures of one judge. `images`: those of the sample; an image without any answer has no row."""
    won = Counter(row.winner for row in rows)
    decided = len(rows) - won[None]
    answers = [p for row in rows for p in (row.p_a_first, _not(row.p_b_first)) if p is not None]
    different = [row for row in rows if row.winner in ("a", "b") and row.words_a != row.words_b]
    return Comparison(
        judge=judge,
        a_wins=won["a"],
        b_wins=won["b"],
        ties=won["tie"],
        equal=won["equal"],
        unanswered=images - decided,
        a_better=share(won["a"] + (won["tie"] + won["equal"]) / 2, decided),
        first=share(sum((p > 0.5) + (p == 0.5) / 2 for p in answers), len(answers)),
        longer=share(sum((row.words_a > row.words_b) == (row.winner == "a") for row in different), len(different)),
        words_a=fmean(row.words_a for row in rows) if rows else None,
        words_b=fmean(row.words_b for row in rows) if rows else None,
    )


def share(number: float, of: int) -> Share:
    """`number` / `of` with the interval of Wilson (1927, doi:10.1080/01621459.1927.10502953)."""
    if not of:
        return Share(value=None, low=None, high=None, of=0)
    p, z2 = number / of, _Z * _Z
    centre = (p + z2 / (2 * of)) / (1 + z2 / of)
    half = _Z * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of)) / (1 + z2 / of)
    return Share(value=p, low=max(0.0, centre - half), high=min(1.0, centre + half), of=of)


def lines(found: Comparison, a: str, b: str) -> list[str]:
    """The figures as text."""
    left_out = [f"  images left out: {found.unanswered:,}; the judge gave no valid answer in at least one order"]
    if found.words_a is None or found.words_b is None or not found.a_better.of:
        return [f"{found.judge}: no verdict", *left_out]
    better = {"a": f"{a} describes the images better", "b": f"{b} describes the images better"}
    made = [
        f"{found.judge}: {better.get(found.verdict or '', 'no difference seen')}",
        f"  {a} wins {_text(found.a_better)} of {number_of(found.a_better.of, 'image')}; a tie counts as half a win",
        f"  {found.a_wins:,} won by {a}, {found.b_wins:,} by {b}, {number_of(found.ties, 'tie')} (the orders disagree)"
        + (f", {found.equal:,} with equal captions" if found.equal else ""),
        f"  position: the first caption is preferred in {_text(found.first)} of {number_of(found.first.of, 'answer')}",
        f"  words: {found.words_a:.1f} in {a}, {found.words_b:.1f} in {b}; "
        f"the longer caption wins {_text(found.longer)} of {number_of(found.longer.of, 'image')}",
    ]
    return [*made, *left_out] if found.unanswered else made


def _text(given: Share) -> str:
    if given.value is None or given.low is None or given.high is None:
        return "–"
    return f"{percent(given.value)} (95 %: {percent(given.low)} to {percent(given.high)})"


def _not(p: float | None) -> float | None:
    return None if p is None else 1 - p
