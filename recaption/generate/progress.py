"""Progress of one model's pass: a snapshot that displays show and that `metrics/` holds. docs/figures.md defines it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from recaption.generate.gpu_use import GpuUse
from recaption.generate.latency import Histogram
from recaption.generate.utilisation import MeterReport

SILENT_SECONDS = 10.0
"""A store that has not answered for this long counts as silent."""


class Snapshot(BaseModel):
    """Written and read back as it is. Files of other versions can be read: missing and null fields get defaults."""

    model_config = ConfigDict(frozen=True, extra="ignore", protected_namespaces=())

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, data: Any) -> Any:
        return {name: value for name, value in data.items() if value is not None} if isinstance(data, dict) else data


class GenerationProgress(Snapshot):
    """Counts of one generation, in images unless stated otherwise.

    If `finished` is set, the generation asks about units: answers, rejects and retries are then counts of units.
    """

    total: int = 0  # of the shards listed so far
    resumed: int = 0
    duplicates: int = 0
    finished: int | None = None  # images with all units answered or rejected by this run; None: it asks about images
    skipped: int = 0  # of these, images without an answer of a generation that it reads
    answers: int = 0
    retries: int = 0  # requests
    degenerate: int = 0
    rejects: dict[str, int] = Field(default_factory=dict)  # by reason
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0

    @property
    def rejected(self) -> int:
        return sum(self.rejects.values())

    @property
    def fresh(self) -> int:
        """Answered or rejected by this run."""
        return self.answers + self.rejected

    @property
    def fresh_images(self) -> int:
        """Images of which this run has answered or rejected everything."""
        return self.fresh if self.finished is None else self.finished

    @property
    def done(self) -> int:
        """Images."""
        return self.resumed + self.duplicates + self.fresh_images

    @property
    def share(self) -> float:
        return self.done / self.total if self.total else 0.0

    @property
    def sums(self) -> dict[str, int]:
        """Once the pass is done: total = resumed + duplicates + answers + rejects, or with units total = resumed +
        duplicates + finished and units = answers + rejects."""
        counts = {name: getattr(self, name) for name in ("total", "resumed", "duplicates", "answers")}
        counts |= {"rejects": self.rejected}
        if self.finished is not None:
            counts |= {"finished": self.finished, "skipped": self.skipped, "units": self.fresh}
        return counts

    def sums_text(self, generation: str) -> str:
        total, resumed, duplicates, answers, rejects, *of_units = (f"{n:,}" for n in self.sums.values())
        if of_units:
            finished, skipped, units = of_units
            without = f" ({skipped} of them without an answer to read)" if self.skipped else ""
            requests = f"units asked {units} = answered {answers} + rejected {rejects}"
            if self.finished and not self.fresh:  # task `negatives` by rules, or all units were answered before
                requests = "no requests"
            return (
                f"{generation}: images {total} = from earlier runs {resumed} + duplicate images {duplicates} "
                f"+ finished {finished}{without}; {requests}"
            )
        return (
            f"{generation}: asked {total} = from earlier runs {resumed} + duplicate images {duplicates} "
            f"+ answered {answers} + rejected {rejects}"
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EngineProgress:
    """One engine that has started, as of its last poll."""

    engine: int  # its number; never reused in a pass
    node: str
    in_flight: int  # requests
    answers: int  # of the engine, stored or not
    output_tokens: int
    share: float | None  # of its maximum rate
    host_bytes: int
    gpus: tuple[GpuUse, ...] = ()


class PassProgress(Snapshot):
    """One model's pass."""

    model: str = Field(exclude=True)  # the key under which a report holds it
    phase: str = "listing"  # listing | starting engine | generating | done
    all_listed: bool = True  # False: totals cover only the shards listed so far
    shards: int = 0  # listed so far
    images: int = 0  # rows of the shards listed so far
    listing_seconds: float = 0.0  # since the start of the pass, until all shards were listed
    seconds: float = 0.0  # since the first engine was ready, until the last answer was stored
    in_flight: int = 0  # requests
    engines: int = 0  # that have started and are not removed
    engines_released: int = 0  # before the end, because they got no more work
    renderers: int = 0
    engine_deaths: int = 0
    gpu_seconds: float = 0.0  # seconds since their start x GPUs, over all engines; an engine without GPU counts as one
    gpu_wait_seconds: float = 0.0  # for which no node has had the GPUs of an engine; 0: one has, or none are needed
    quarantined: int = 0  # images
    generations: dict[str, GenerationProgress] = Field(default_factory=dict)
    engine: dict[str, str] = Field(default_factory=dict)  # its provenance
    meter: MeterReport = MeterReport()
    store_silent: float = Field(0.0, exclude=True)  # seconds for which the store has not answered
    # Not stored: files in metrics/ would grow with the number of engines.
    fleet: tuple[EngineProgress, ...] = Field((), exclude=True)
    latency: dict[tuple[str, str], Histogram] = Field(default_factory=dict, exclude=True)  # by node and stage

    @property
    def waits_for_gpus(self) -> bool:
        return self.gpu_wait_seconds > 0 and self.phase != "done"

    @property
    def answers(self) -> int:
        return sum(generation.answers for generation in self.generations.values())

    @property
    def engines_used(self) -> int:
        """Engines that run now, and those that were released because they got no more work."""
        return self.engines + self.engines_released

    @property
    def captions_per_second(self) -> float | None:
        return captions_per_second(self.answers, self.seconds)

    @property
    def seconds_left(self) -> float | None:
        """At this run's rate, for the shards listed so far; None while the rate is unknown."""
        missing = sum(g.total - g.done for g in self.generations.values())
        fresh = sum(g.fresh_images for g in self.generations.values())
        if missing <= 0 and self.all_listed:
            return 0.0
        return missing * self.seconds / fresh if fresh and self.seconds > 1 else None

    def event(self) -> dict[str, Any]:
        """Fields of a `progress` event, in the log and with --json. `captions_per_second` is of the whole run."""
        names = ("model", "phase", "all_listed", "in_flight", "engines", "engine_deaths", "quarantined", "seconds")
        share, generations = self.meter.share, self.generations.items()
        return {name: getattr(self, name) for name in names} | {
            "captions_per_second": rounded(self.captions_per_second, 3),
            "share": None if share is None else min(1.0, share),
            "seconds_left": rounded(self.seconds_left, 1),
            "gpu_wait_seconds": self.gpu_wait_seconds,
            "store_silent_seconds": round(self.store_silent, 1),
            "generations": {id: {"done": g.done, **g.sums, "retries": g.retries} for id, g in generations},
        }


def captions_per_second(answers: int, seconds: float) -> float | None:
    """Answers of a run per second of generating; None in the first second and without answers."""
    return answers / seconds if answers and seconds > 1 else None


def rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


class ProgressEvents:
    """Selects what becomes an event: one snapshot per model and period, every new phase, each built shard."""

    def __init__(self, period: float) -> None:
        """`period`: seconds."""
        self._period = period
        self._last: dict[str, tuple[float, PassProgress]] = {}  # model -> time and snapshot of its last event
        self._built, self._built_at = (0, 0), float("-inf")

    def generating(self, progress: PassProgress) -> Mapping[str, Any] | None:
        """Fields of a `progress` event, or None. `captions_per_second` is the rate since the event before."""
        now = time.monotonic()
        at, before = self._last.get(progress.model, (float("-inf"), PassProgress(model=progress.model, phase="")))
        if now - at <= self._period and progress.phase == before.phase:
            return None
        self._last[progress.model] = now, progress
        answers, seconds = progress.answers - before.answers, progress.seconds - before.seconds
        rate = answers / seconds if progress.answers and seconds > 0 else None
        return progress.event() | {"captions_per_second": rounded(rate, 3)}

    def building(self, done: int, total: int) -> Mapping[str, Any] | None:
        """Fields of a `building` event, or None."""
        now = time.monotonic()
        if (done, total) == self._built or (done < total and now - self._built_at < self._period):
            return None
        self._built, self._built_at = (done, total), now
        return {"done": done, "total": total}
