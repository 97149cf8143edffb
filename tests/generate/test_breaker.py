"""The circuit breaker: what it looks at, when it opens, and what it says."""

from __future__ import annotations

from collections import Counter

import pytest

from recaption.config import Breaker
from recaption.errors import CircuitOpen
from recaption.generate.breaker import CircuitBreaker


class Run:
    """Sums of a run that goes on; `more` adds to them and shows them to the breaker."""

    def __init__(self, **settings: float) -> None:
        self.breaker = CircuitBreaker(Breaker.model_validate({"window": 100, **settings}))
        self.settled = self.degenerate = 0
        self.rejects: Counter[str] = Counter()

    def more(self, settled: int, degenerate: int = 0, **rejects: int) -> None:
        self.settled += settled
        self.degenerate += degenerate
        self.rejects.update(rejects)
        self.breaker.observe(self.settled, self.degenerate, self.rejects)


def test_a_run_with_few_rejects_continues() -> None:
    run = Run()
    for _ in range(50):
        run.more(10, degenerate=5, refusal=5)


def test_a_full_window_with_too_many_rejects_opens_it_and_the_message_has_the_reasons() -> None:
    run = Run(rejects=0.3)
    run.more(99, undecodable=60, refusal=9)
    with pytest.raises(CircuitOpen, match=r"69 of the last 100 results were rejected.*= 0\.3.*undecodable 60") as told:
        run.more(1)
    assert "--set breaker.rejects=1" in str(told.value)
    assert told.value.exit_code == 1


def test_images_that_no_table_names_do_not_count() -> None:
    run = Run(rejects=0.3)
    run.more(1000, not_in_table=990, refusal=3)
    run.more(89, refusal=26)
    with pytest.raises(CircuitOpen, match=r"31 of the last 100 results were rejected.*\(refusal 31\)"):
        run.more(11, not_in_table=10, refusal=2)


def test_exactly_the_allowed_share_is_allowed() -> None:
    run = Run(rejects=0.3, degenerate=0.2)
    run.more(100, degenerate=20, empty_answer=30)
    with pytest.raises(CircuitOpen):
        run.more(1, degenerate=1, empty_answer=1)


def test_degenerate_answers_count_if_a_later_attempt_was_good() -> None:
    run = Run(degenerate=0.2)
    with pytest.raises(CircuitOpen, match=r"21 of the last 100 results were degenerate.*breaker\.degenerate = 0\.2"):
        run.more(100, degenerate=21)


def test_results_before_the_window_do_not_count() -> None:
    run = Run(rejects=0.5)
    run.more(50, truncated=40)
    for _ in range(20):
        run.more(10)
    for _ in range(5):
        run.more(10, truncated=10)
    with pytest.raises(CircuitOpen, match="60 of the last 100"):
        run.more(10, truncated=10)


def test_a_long_good_start_does_not_hide_a_bad_end() -> None:
    run = Run()
    run.more(1_000_000)
    run.more(50, truncated=50)
    with pytest.raises(CircuitOpen, match="of the last 101"):
        run.more(51, truncated=51)


def test_unchanged_totals_count_once() -> None:
    run = Run()
    run.more(60, truncated=50)
    for _ in range(10):
        run.more(0)
    run.more(39)
    with pytest.raises(CircuitOpen, match="51 of the last 100"):
        run.more(1, truncated=1)


def test_a_run_shorter_than_the_window_is_not_stopped() -> None:
    Run().more(99, truncated=99)


def test_a_share_of_one_disables_it() -> None:
    Run(rejects=1, degenerate=1).more(100, degenerate=100, refusal=100)
