"""recaption.engine.vllm.Tally: needs no vLLM, so it is tested apart from tests/engine/test_vllm.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from recaption.engine.base import Gauge
from recaption.engine.vllm import Tally


def scheduler(running: int, waiting: int) -> Any:
    return SimpleNamespace(num_running_reqs=running, num_waiting_reqs=waiting)


def iteration(finished: int, prompt: int, output: int) -> Any:
    return SimpleNamespace(finished_requests=[None] * finished, num_prompt_tokens=prompt, num_generation_tokens=output)


def test_counts_add_up_and_the_last_word_counts() -> None:
    tally = Tally()
    tally.record(scheduler(4, 9), iteration(0, 100, 4), 0)
    tally.record(scheduler(4, 7), iteration(2, 20, 4), 0)
    tally.record(None, iteration(1, 0, 3), 0)
    tally.record(scheduler(3, 5), None, 0)
    assert tally.read(99) == Gauge(
        running=3, waiting=5, least_waiting=0, requests=3, prompt_tokens=120, output_tokens=11
    )


@pytest.mark.parametrize(("queue", "least"), [([5, 8, 6], 5), ([9, 3, 7], 3), ([9, 0, 9], 0), ([9], 8), ([], 8)])
def test_the_least_is_that_of_the_window_since_the_last_call(queue: list[int], least: int) -> None:
    tally = Tally()
    tally.record(scheduler(4, 8), None, 0)
    assert tally.read(99).least_waiting == 0  # an engine that has just started had nothing to do
    for waiting in queue:
        tally.record(scheduler(4, waiting), None, 0)
    assert tally.read(99).least_waiting == least


def test_several_schedulers_are_one_engine() -> None:
    tally = Tally()
    tally.record(scheduler(4, 2), None, 0)
    tally.record(scheduler(3, 1), None, 1)
    tally.read(99)
    tally.record(scheduler(4, 0), None, 0)
    tally.record(scheduler(4, 6), None, 1)
    gauge = tally.read(99)
    assert (gauge.running, gauge.waiting, gauge.least_waiting) == (8, 6, 1)


def test_no_more_run_than_were_given() -> None:
    tally = Tally()
    tally.record(scheduler(4, 3), None, 0)
    assert (tally.read(2).running, tally.read(2).waiting) == (2, 2)
    idle = tally.read(0)
    assert (idle.running, idle.waiting, idle.least_waiting) == (0, 0, 0)
