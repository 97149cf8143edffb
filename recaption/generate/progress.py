"""Where a pass stands: plain numbers, for displays, logs and metrics. docs/figures.md has their definitions."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from recaption.generate.counters import Counters
from recaption.generate.meter import Meter

SILENT_SECONDS = 10.0
"""A store that has not answered for so long counts as silent."""


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationState:
    """One generation of a pass, as it is written to `metrics/` and read back from there."""

    id: str
    total: int = 0  # images to ask about, of the shards listed so far
    resumed: int = 0
    duplicates: int = 0
    answers: int = 0
    retries: int = 0
    degenerate: int = 0
    rejects: dict[str, int] = field(default_factory=dict)  # by reason
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    @property
    def sums(self) -> dict[str, int]:
        """Once the pass is done: total = resumed + duplicates + answers + rejects."""
        return {
            "total": self.total,
            "resumed": self.resumed,
            "duplicates": self.duplicates,
            "answers": self.answers,
            "rejects": sum(self.rejects.values()),
        }

    @property
    def words(self) -> str:
        """The sum in words."""
        asked, resumed, duplicates, answers, rejects = (f"{n:,}" for n in self.sums.values())
        return (
            f"{self.id}: asked {asked} = from earlier runs {resumed} + duplicate images {duplicates} "
            f"+ answered {answers} + rejected {rejects}"
        )

    @property
    def fresh(self) -> int:
        """Answered or rejected by this run."""
        return self.answers + sum(self.rejects.values())

    @property
    def done(self) -> int:
        return self.resumed + self.duplicates + self.fresh

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 0.0

    def as_json(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        del values["id"]
        return values

    @classmethod
    def from_json(cls, id: str, data: Mapping[str, Any]) -> GenerationState:
        """Of any version: counts that it has not are 0."""
        counts = {f.name: int(data.get(f.name, 0)) for f in dataclasses.fields(cls) if f.type == "int"}
        rejects = {str(reason): int(n) for reason, n in (data.get("rejects") or {}).items()}
        return cls(id=id, rejects=rejects, **counts)


@dataclass(frozen=True, kw_only=True, slots=True)
class PassState:
    """One model's pass, as it is written to `metrics/` and read back from there."""

    model: str
    phase: str = ""
    all_listed: bool = True  # until then totals are of what is listed so far
    images: int = 0
    seconds: float = 0.0
    in_flight: int = 0
    engines: int = 0
    renderers: int = 0
    engine_deaths: int = 0
    quarantined: int = 0
    generations: tuple[GenerationState, ...] = ()
    engine: Mapping[str, str] = field(default_factory=dict)
    meter: Mapping[str, Any] = field(default_factory=dict)

    def captions_per_second(self, generation: GenerationState | None = None) -> float | None:
        """Of one generation, or of all; resumed answers do not count."""
        counted = self.generations if generation is None else (generation,)
        return captions_per_second(sum(g.answers for g in counted), self.seconds)

    @property
    def seconds_left(self) -> float | None:
        """At the rate of this run, for the shards listed so far; None where there is no rate yet."""
        missing = sum(g.total - g.done for g in self.generations)
        fresh = sum(g.fresh for g in self.generations)
        if missing <= 0 and self.all_listed:
            return 0.0
        return missing * self.seconds / fresh if fresh and self.seconds > 1 else None

    def as_json(self) -> dict[str, Any]:
        """As it stands in `metrics/`, under the model's name."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "model"}
        return values | {"generations": {g.id: g.as_json() for g in self.generations}}

    @classmethod
    def from_json(cls, model: str, data: Mapping[str, Any]) -> PassState:
        """Of any version: what it has not is as in a pass that has not begun."""
        known = {f.name: data[f.name] for f in dataclasses.fields(cls) if data.get(f.name) is not None}
        found = (data.get("generations") or {}).items()
        generations = tuple(GenerationState.from_json(id, g) for id, g in found)
        return cls(**known | {"model": model, "generations": generations})


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

    @property
    def seconds(self) -> float:
        """From the first request to the last put; the start of engines is not in it."""
        return (self.ended or time.monotonic()) - self.started if self.started else 0.0

    def generation(self, question: str) -> GenerationState:
        c = self.counters
        return GenerationState(
            id=question,
            total=self.total[question],
            resumed=self.resumed[question],
            duplicates=self.duplicates.get(question, 0),
            answers=c.answers[question],
            retries=c.retries[question],
            degenerate=c.degenerate[question],
            rejects={reason: n for (of, reason), n in sorted(c.rejects.items()) if of == question},
            prompt_tokens=c.prompt_tokens[question],
            cached_tokens=c.cached_tokens[question],
            output_tokens=c.output_tokens[question],
        )

    def done(self, question: str) -> int:
        """Images that are answered or rejected, in this run or before it, or equal to one that is asked."""
        return self.generation(question).done

    def state(self) -> PassState:
        """It as it is now."""
        return PassState(
            model=self.model,
            phase=self.phase,
            all_listed=self.all_listed,
            images=self.images,
            seconds=round(self.seconds, 3),
            in_flight=self.in_flight,
            engines=self.engines,
            renderers=self.renderers,
            engine_deaths=self.deaths,
            quarantined=self.quarantined,
            generations=tuple(self.generation(question) for question in self.total),
            engine=self.provenance,
            meter=self.meter.report(max(1, self.engines)),
        )

    @property
    def seconds_left(self) -> float | None:
        return self.state().seconds_left

    def brief(self) -> dict[str, Any]:
        """As it is told every few seconds, in the log and with --json. `captions_per_second` is of the whole run."""
        state, share = self.state(), self.meter.share
        left, rate = state.seconds_left, state.captions_per_second()
        return {
            "model": state.model,
            "phase": state.phase,
            "all_listed": state.all_listed,
            "captions_per_second": None if rate is None else round(rate, 3),
            "share": None if share is None else round(min(1.0, share), 4),
            "in_flight": state.in_flight,
            "engines": state.engines,
            "engine_deaths": state.engine_deaths,
            "quarantined": state.quarantined,
            "seconds": state.seconds,
            "seconds_left": None if left is None else round(left, 1),
            "store_silent_seconds": round(self.store_silent, 1),
            "generations": {g.id: {"done": g.done, **g.sums, "retries": g.retries} for g in state.generations},
        }


def captions_per_second(answers: int, seconds: float) -> float | None:
    """Answers of a run by its time of generating; None in the first second and without answers."""
    return answers / seconds if answers and seconds > 1 else None


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
