"""Sub-captions with their negatives, for formats of a true and a false text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from recaption.export.needs import NEGATIVES
from recaption.export.rows import Sample
from recaption.text import fold
from recaption.types import SubCaption


def changed(sample: Sample) -> Iterator[tuple[SubCaption, Mapping[str, str]]]:
    """The sub-captions that have negatives, each with the first negative of each category."""
    negatives: dict[str, dict[str, str]] = {}
    for row in sample.tables[NEGATIVES.table]:
        negatives.setdefault(row["sub_id"], {}).setdefault(row["category"], fold(row["text"]))
    for caption in sample.record.captions:
        for sub in caption.sub_captions:
            if sub.sub_id in negatives:
                yield sub, negatives[sub.sub_id]


def first_of(negatives: Mapping[str, str], categories: Sequence[str]) -> str | None:
    """The negative of the first of these categories that has one; None if none has."""
    return next((negatives[name] for name in categories if name in negatives), None)
