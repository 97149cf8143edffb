"""Where a pass stands: plain numbers, for displays, logs and metrics. docs/figures.md has their definitions."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from recaption.generate.counters import Counters
from recaption.generate.meter import Meter

SILENT_SECONDS = 10.0
"""A store that has not answered for so long counts as silent."""


@dataclass(kw_only=True, slots=True)
class Progress:
    """Where one model's pass stands; handed to `report` about twice a second."""

    model: str
    phase: str = "listing"  # listing | starting engine | generating | done
    total: dict[str, int] = field(default_factory=dict)  # question -> images to answer, of the shards listed so far
    resumed: dict[str, int] = field(default_factory=dict)  # question -> images answered or rejected before this run
    duplicates: dict[str, int] = field(default_factory=dict)  # question -> images equal to one of their shard
    counters: Counters = field(default_factory=Counters)  # of this run
    meter: Meter = field(default_factory=Meter)
    in_flight: int = 0
    engines: int = 0  # that have started and are not gone
    renderers: int = 0
    deaths: int = 0  # of engines
    quarantined: int = 0  # images
    images: int = 0  # rows of the shards listed so far
    all_listed: bool = False
    started: float | None = None  # monotonic seconds at which the first engine was ready
    ended: float | None = None  # monotonic seconds at which the last answer was put
    provenance: dict[str, str] = field(default_factory=dict)
    store_silent: float = 0.0  # seconds since the store last answered, where it should have

    @property
    def answers(self) -> Counter[str]:
        return self.counters.answers

    @property
    def rejects(self) -> Counter[str]:
        """By question."""
        found: Counter[str] = Counter()
        for (question, _), count in self.counters.rejects.items():
            found[question] += count
        return found

    @property
    def retries(self) -> Counter[str]:
        return self.counters.retries

    @property
    def output_tokens(self) -> Counter[str]:
        return self.counters.output_tokens

    def done(self, question: str) -> int:
        """Images that are answered or rejected, in this run or before it, or equal to one that is asked."""
        counts = self.generation(question)
        return sum(counts[name] for name in ("resumed", "duplicates", "answers", "rejects"))

    def generation(self, question: str) -> dict[str, int]:
        """The sum of a generation: total = resumed + duplicates + answers + rejects, once the pass is done."""
        return {
            "total": self.total[question],
            "resumed": self.resumed[question],
            "duplicates": self.duplicates.get(question, 0),
            "answers": self.answers[question],
            "rejects": self.rejects[question],
        }

    def sum(self, question: str) -> str:
        """The sum of a generation in words."""
        counts = self.generation(question)
        terms = {
            "from earlier runs": counts["resumed"],
            "duplicate images": counts["duplicates"],
            "answered": counts["answers"],
            "rejected": counts["rejects"],
        }
        return f"{question}: asked {counts['total']:,} = " + " + ".join(f"{name} {n:,}" for name, n in terms.items())

    @property
    def captions_per_second(self) -> float | None:
        """Of this run, on average; resumed answers do not count."""
        return captions_per_second(self.answers.total(), self.seconds)

    @property
    def seconds_left(self) -> float | None:
        """At the rate of this run, for the shards listed so far; None where there is no rate yet."""
        missing = sum(total - self.done(question) for question, total in self.total.items())
        return seconds_left(missing, self.counters.settled, self.seconds, all_listed=self.all_listed)

    @property
    def seconds(self) -> float:
        """From the first request to the last put; the start of engines is not in it."""
        return (self.ended or time.monotonic()) - self.started if self.started else 0.0

    def brief(self) -> dict[str, Any]:
        """As it is told every few seconds, in the log and with --json. `captions_per_second` is of the whole run."""
        share, left, rate = self.meter.share, self.seconds_left, self.captions_per_second
        return {
            "model": self.model,
            "phase": self.phase,
            "all_listed": self.all_listed,
            "captions_per_second": None if rate is None else round(rate, 3),
            "share": None if share is None else round(min(1.0, share), 4),
            "in_flight": self.in_flight,
            "engines": self.engines,
            "engine_deaths": self.deaths,
            "quarantined": self.quarantined,
            "seconds": round(self.seconds, 3),
            "seconds_left": None if left is None else round(left, 1),
            "store_silent_seconds": round(self.store_silent, 1),
            "generations": {
                name: {"done": self.done(name), **self.generation(name), "retries": self.retries[name]}
                for name in self.total
            },
        }

    def as_json(self) -> dict[str, Any]:
        """As it stands in `metrics/`, under the model's name."""
        c = self.counters
        return {
            "phase": self.phase,
            "all_listed": self.all_listed,
            "images": self.images,
            "seconds": round(self.seconds, 3),
            "in_flight": self.in_flight,
            "engines": self.engines,
            "renderers": self.renderers,
            "engine_deaths": self.deaths,
            "quarantined": self.quarantined,
            "generations": {
                name: {
                    **self.generation(name),
                    "retries": c.retries[name],
                    "degenerate": c.degenerate[name],
                    "rejects": {reason: n for (question, reason), n in sorted(c.rejects.items()) if question == name},
                    "prompt_tokens": c.prompt_tokens[name],
                    "cached_tokens": c.cached_tokens[name],
                    "output_tokens": c.output_tokens[name],
                }
                for name in self.total
            },
            "engine": self.provenance,
            "meter": self.meter.report(max(1, self.engines)),
        }


def captions_per_second(answers: int, seconds: float) -> float | None:
    """Answers of a run by its time of generating; None in the first second and without answers."""
    return answers / seconds if answers and seconds > 1 else None


def seconds_left(missing: int, settled: int, seconds: float, *, all_listed: bool) -> float | None:
    """Time for what is missing, at the rate at which a run settled images in `seconds`; None without a rate."""
    if missing <= 0 and all_listed:
        return 0.0
    return missing * seconds / settled if settled and seconds > 1 else None


class Pace:
    """How fast answers came since one looked last, per model."""

    def __init__(self) -> None:
        self._before: dict[str, tuple[int, float]] = {}

    def since_last(self, progress: Progress) -> float | None:
        """Captions a second; None before the first answer and where no time has passed."""
        answers, seconds = progress.answers.total(), progress.seconds
        before, then = self._before.get(progress.model, (0, 0.0))
        self._before[progress.model] = answers, seconds
        return (answers - before) / (seconds - then) if answers and seconds > then else None
