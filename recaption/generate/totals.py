"""The figures of a pass, summed up over shards and engines, removed engines included."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection

from recaption.generate.chunks import ShardListing
from recaption.generate.counters import Counters
from recaption.generate.engine_state import EngineState
from recaption.generate.latency import Histogram
from recaption.generate.plan import ModelPlan
from recaption.generate.progress import GenerationProgress
from recaption.generate.utilisation import Meter

_NO_ENGINE = -1  # answers from a column, and rejects of poison
_NOTHING = Counters()


class Totals:
    """Figures of a pass. There are two lower bounds for what an engine has stored: the reports of its ended assignments
    (or a recheck of the store, if an assignment could not report), and its last poll. The larger one is used. Once all
    assignments have ended, the first is exact."""

    def __init__(self, model: ModelPlan) -> None:
        self._ids = [question.id for question in model.questions]
        self._per_unit = {question.id for question in model.questions if question.per_unit}
        self._images: dict[str, Counter[str]] = {id: Counter() for id in self._ids}
        self._stored: defaultdict[int, Counters] = defaultdict(Counters)
        self._last_polls: dict[int, Counters] = {}  # of removed engines
        self._removed_meters: defaultdict[str, Meter] = defaultdict(Meter)  # of removed engines, by node
        self.shards = 0
        self.rows = 0
        """Images of the listed shards."""

    def listed(self, listing: ShardListing) -> None:
        self.shards += 1
        self.rows += listing.images
        for i, id in enumerate(self._ids):
            self._images[id].update(total=listing.usable, resumed=listing.done[i], duplicates=listing.duplicates[i])
        self.stored(listing.counters)

    def stored(self, counters: Counters, engine: int = _NO_ENGINE) -> None:
        """An assignment of an engine has ended, or something was stored without one."""
        self._stored[engine].add(counters)

    def removed(self, engine: EngineState) -> None:
        if engine.poll is not None:
            self._last_polls[engine.number] = engine.poll.counters
            self._removed_meters[engine.poll.node].add(engine.poll.meter)

    def counters(self, engines: Collection[EngineState]) -> Counters:
        """The counts of all engines: removed ones and `engines`."""
        polls = self._last_polls | {engine.number: engine.poll.counters for engine in engines if engine.poll}
        found = Counters()
        for number in {**self._stored, **polls}:
            found.add(self._stored[number].at_least(polls.get(number, _NOTHING)))
        return found

    def meter(self, engines: Collection[EngineState]) -> Meter:
        found = Meter()
        for meter in self.meters(engines).values():
            found.add(meter)
        return found

    def meters(self, engines: Collection[EngineState]) -> dict[str, Meter]:
        """By node."""
        found: defaultdict[str, Meter] = defaultdict(Meter)
        for node, meter in self._removed_meters.items():
            found[node].add(meter)
        for engine in engines:
            if engine.poll is not None:
                found[engine.poll.node].add(engine.poll.meter)
        return dict(found)

    def latency(self, engines: Collection[EngineState]) -> dict[tuple[str, str], Histogram]:
        """By node and stage."""
        meters = self.meters(engines).items()
        return {(node, stage): h for node, meter in meters for stage, h in meter.latency.items()}

    def generations(self, counters: Counters) -> dict[str, GenerationProgress]:
        c = counters
        return {
            id: GenerationProgress(
                total=self._images[id]["total"],
                resumed=self._images[id]["resumed"],
                duplicates=self._images[id]["duplicates"],
                finished=c.images[id] if id in self._per_unit else None,
                skipped=c.skipped[id],
                answers=c.answers[id],
                retries=c.retries[id],
                degenerate=c.degenerate[id],
                rejects={reason: n for (of, reason), n in sorted(c.rejects.items()) if of == id},
                prompt_tokens=c.prompt_tokens[id],
                cached_tokens=c.cached_tokens[id],
                output_tokens=c.output_tokens[id],
            )
            for id in self._ids
        }
