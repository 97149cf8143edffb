"""recaption.generate.totals: the figures of a pass, with generations about images and about units."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import toy_tasks
from task_units import IMAGE

from recaption.generate.chunks import ShardListing
from recaption.generate.counters import Counters
from recaption.generate.totals import Totals
from recaption.generate.utilisation import Meter
from recaption.tasks.caption import CaptionTask
from recaption.tasks.question import requests
from recaption.types import SourceShard

LONG = toy_tasks.question(CaptionTask, "long", "Describe it.")
CHECK = toy_tasks.check(toy_tasks.words())
REQUEST = requests(LONG, IMAGE)[0]


def counted(*, skipped: int = 0, finished: int = 0, answers: int = 0) -> Counters:
    counters = Counters()
    for n in range(finished):
        counters.finished(CHECK, skipped=n < skipped)
        counters.finished(LONG, skipped=False)
    counters.count([toy_tasks.answer(REQUEST, "yes")] * answers, "check")
    return counters


def listing(**counts: Any) -> ShardListing:
    shard = SourceShard(id="s", number=0, path="s.tar")
    fields = {"images": 10, "usable": 9, "done": (4, 2), "duplicates": (1, 0), "first_key": None, "chunks": ()}
    return ShardListing(shard=shard, digest="d", **(fields | counts))  # type: ignore[arg-type]


def totals() -> Totals:
    return Totals(SimpleNamespace(questions=(LONG, CHECK)))  # type: ignore[arg-type]


def test_only_generations_about_units_count_finished_images() -> None:
    found = totals()
    found.listed(listing())
    found.stored(counted(finished=3, skipped=1, answers=5), engine=0)
    made = found.generations(found.counters([]))
    assert (made["long"].total, made["long"].resumed, made["long"].duplicates, made["long"].finished) == (9, 4, 1, None)
    check = made["check"]
    assert (check.total, check.resumed, check.finished, check.skipped, check.answers) == (9, 2, 3, 1, 5)
    assert check.done == 5 and made["long"].done == 5


def test_polls_and_reports_of_an_engine_are_bounds_of_the_same_counts() -> None:
    found = totals()
    engine: Any = SimpleNamespace(number=0, poll=SimpleNamespace(counters=counted(finished=4, answers=6)))
    found.stored(counted(finished=3, skipped=1, answers=5), engine=0)
    found.stored(counted(finished=1, answers=1), engine=1)
    found.stored(counted(finished=1))
    made = found.generations(found.counters([engine]))["check"]
    assert (made.finished, made.skipped, made.answers) == (6, 1, 7), (
        "the larger of both, and what is stored without one"
    )


def test_latencies_are_summed_by_node_and_those_of_removed_engines_are_kept() -> None:
    found = totals()

    def engine(number: int, node: str, *seconds: float) -> Any:
        meter = Meter()
        for each in seconds:
            meter.took("put", each)
        return SimpleNamespace(number=number, poll=SimpleNamespace(counters=Counters(), meter=meter, node=node))

    found.removed(engine(0, "a", 1.0))
    latency = found.latency([engine(1, "a", 2.0, 4.0), engine(2, "b", 8.0)])
    assert {place: histogram.total for place, histogram in latency.items()} == {("a", "put"): 7.0, ("b", "put"): 8.0}
    assert found.meter([]).latency["put"].total == 1.0


def test_counts_of_images_are_split_from_all_others() -> None:
    counters = Counters(images=Counter(check=3), skipped=Counter(check=1), answers=Counter(check=9))
    images, others = counters.split()
    assert (images.images, images.skipped, images.answers) == ({"check": 3}, {"check": 1}, {})
    assert (others.images, others.skipped, others.answers) == ({}, {}, {"check": 9})
    images.add(others)
    assert images == counters
