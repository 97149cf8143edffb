"""Scores on the golden set do not fall. `python tests/annotation_scores.py` prints them in full."""

from __future__ import annotations

import pytest
from annotation_scores import WHAT, Tallies, parts, score, total

from recaption.annotate import Annotator

FLOORS: dict[str, dict[str, float]] = {
    "dev": {
        "boundaries": 0.998,
        "spans": 0.997,
        "heads": 0.959,
        "names": 0.947,
        "attributes": 0.96,
        "counts": 0.977,
        "plurals": 0.965,
        "fragment": 0.964,
        "negation": 1.0,
        "meta": 0.928,
        "boilerplate": 0.992,
        "dup": 0.942,
        "content": 0.992,
        "lang": 0.998,
    },
    "heldout": {
        "boundaries": 0.993,
        "spans": 0.983,
        "heads": 0.944,
        "names": 0.928,
        "attributes": 0.92,
        "counts": 0.946,
        "plurals": 0.965,
        "fragment": 0.967,
        "negation": 1.0,
        "meta": 0.933,
        "boilerplate": 1.0,
        "dup": 0.958,
        "content": 1.0,
        "lang": 0.992,
    },
}
"""Lower bounds of F1: the reached values, truncated to three digits."""


@pytest.fixture(scope="module")
def reached(annotator: Annotator) -> dict[str, Tallies]:
    return {part: total(score(image, annotator) for image in images) for part, images in parts().items()}


@pytest.mark.parametrize("part", FLOORS)
def test_no_score_falls(part: str, reached: dict[str, Tallies]) -> None:
    assert set(FLOORS[part]) == set(WHAT)
    fallen = {what: reached[part][what].f1 for what, floor in FLOORS[part].items() if reached[part][what].f1 < floor}
    assert not fallen


def test_the_golden_set_is_large_enough(reached: dict[str, Tallies]) -> None:
    """The numbers of sentences, and of positives of every flag, bound the error of the scores."""
    sizes = {part: {what: tally.true for what, tally in tallies.items()} for part, tallies in reached.items()}
    both = {what: sizes["dev"][what] + sizes["heldout"][what] for what in WHAT}
    assert both["spans"] >= 300
    for flag in ("fragment", "negation", "meta", "boilerplate", "dup"):
        assert both[flag] >= 40 and sizes["heldout"][flag] >= 20
