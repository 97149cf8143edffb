"""Statistics of the overview."""

from __future__ import annotations

from pathlib import Path

from recaption.inspect import connect
from recaption.inspect.statistics import gather


def test_facts(dataset: Path) -> None:
    with connect(str(dataset)) as connection:
        facts = gather(connection, tags=2, samples=9)
    assert facts.top_tags == [("dog", 4), ("ball", 1)]
    assert sorted(sample.key for sample in facts.samples) == ["a0", "a1", "b0", "b1"]  # no rejected ones
    a0 = next(sample for sample in facts.samples if sample.key == "a0")
    assert [caption.generation for caption in a0.captions] == ["long", "raw"]
    long = a0.captions[0]
    assert [long.text[start:end] for start, end in long.spans][1] == "The dog holds two balls."
    assert [long.text[start:end] for start, end in long.tags] == ["dog", "mat", "dog", "balls"]
