"""Statistics of a report."""

from __future__ import annotations

from pathlib import Path

from recaption.inspect.paths import find
from recaption.inspect.report import gather
from recaption.inspect.report.statistics import Distribution

GOLDEN = Path(__file__).parents[2] / "golden"


def test_statistics_of_the_golden_build() -> None:
    found = gather(find(str(GOLDEN / "output"))).statistics
    assert found is not None
    assert [name for name, _ in found.caption_words] == ["long", "short", "raw"]
    assert (found.images, found.distinct_images, found.sub_captions) == (16, 15, 61)
    assert sum(reject.count for reject in found.rejects) == 5
    tags = {tag.lemma: tag for tag in found.tags}
    assert (tags["kite"].mentions, tags["kite"].images, tags["kite"].attributes) == (5, 1, [("red", 5)])
    assert {flag.flag: flag.count for flag in found.flags} == {
        "fragment": 16, "negation": 1, "meta": 2, "boilerplate": 1, "unparsed": 0, "duplicate": 1
    }  # fmt: skip
    assert dict(found.sub_tokens)["clip"].total == 61
    assert dict(found.caption_tokens)["clip"].total == 46
    assert found.weights.counts[-1][0] == 20
    assert [(one.source, one.mean, one.counts, one.low, one.total) for one in found.weights_by_source] == [
        ("golden:describe_long", 0.927, (0, 0, 3, 0, 28), 0, 31),
        ("golden:describe_short", 1.0, (0, 0, 0, 0, 15), 0, 15),
        ("raw", 1.0, (0, 0, 0, 0, 15), 0, 15),
    ]
    assert [
        (name, [(one.position, one.mean, one.total) for one in rows]) for name, rows in found.weights_by_position
    ] == [
        ("long", [("1", 0.953, 16), ("2", 0.875, 12), ("3", 1.0, 3)]),
        ("short", [("1", 1.0, 15)]),
        ("raw", [("1", 1.0, 15)]),
    ]


def spread(*values: int) -> Distribution:
    return Distribution.of((value, values.count(value)) for value in set(values))


def test_quantiles_and_shares() -> None:
    made = spread(*range(1, 101))
    assert (made.quantile(0.05), made.quantile(0.5), made.quantile(0.95), made.quantile(1)) == (5, 50, 95, 100)
    assert (made.above(77), made.above(100), made.total, made.mean) == (23, 0, 100, 50.5)
    assert Distribution.of([]).quantile(0.5) == 0
    assert Distribution.of([(None, 3), (2, 1)]).counts == ((2, 1),)
