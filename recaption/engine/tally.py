"""What vLLM's scheduler says after each of its steps, added up into a gauge."""

from __future__ import annotations

from typing import Any

from recaption.engine.base import Gauge


class Tally:
    """Written and read in one event loop, like the engine that it counts for."""

    def __init__(self) -> None:
        self._now: dict[int, tuple[int, int]] = {}  # scheduler -> running, waiting
        self._least_waiting = self._requests = self._prompt_tokens = self._output_tokens = 0

    def record(self, scheduler_stats: Any, iteration_stats: Any, scheduler: int) -> None:
        """`SchedulerStats` and `IterationStats` of vllm/v1/metrics/stats.py; either may be None."""
        if scheduler_stats is not None:
            # Without those that wait for something else than room: they would wait in an idle engine, too.
            self._now[scheduler] = scheduler_stats.num_running_reqs, scheduler_stats.num_waiting_reqs
            self._least_waiting = min(self._least_waiting, self._waiting())
        if iteration_stats is not None:
            self._requests += len(iteration_stats.finished_requests)
            self._prompt_tokens += iteration_stats.num_prompt_tokens
            self._output_tokens += iteration_stats.num_generation_tokens

    def read(self, in_flight: int) -> Gauge:
        """The gauge, and the start of its next window. `in_flight`: requests that the engine was given and still has.

        A scheduler that ran out of work takes no more steps, and its last word may tell of requests that were given up
        since: no more than `in_flight` are believed.
        """
        waiting = min(self._waiting(), in_flight)
        least, self._least_waiting = min(self._least_waiting, waiting), waiting
        return Gauge(
            running=min(sum(running for running, _ in self._now.values()), in_flight),
            waiting=waiting,
            least_waiting=least,
            requests=self._requests,
            prompt_tokens=self._prompt_tokens,
            output_tokens=self._output_tokens,
        )

    def _waiting(self) -> int:
        return sum(waiting for _, waiting in self._now.values())
