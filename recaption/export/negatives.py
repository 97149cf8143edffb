"""Sub-captions with their negatives, for formats of a true and a false text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from recaption.errors import UserError
from recaption.export.base import Options, refuse_fill
from recaption.export.dataset import Dataset
from recaption.export.needs import NEGATIVES, required, texts_only
from recaption.export.rows import Sample
from recaption.text import fold
from recaption.types import SubCaption


def maker_of_negatives(dataset: Dataset, options: Options) -> dict[str, str | None]:
    """The table `negatives` with its generation. Raises UserError if there is none, or if options name texts."""
    refuse_fill(options)
    if texts_only(options, NEGATIVES).map:
        raise UserError(f"the only name in --map is {NEGATIVES.table}: the texts are those that the negatives change")
    return {NEGATIVES.table: required(dataset, options, NEGATIVES)}


def changed(sample: Sample) -> Iterator[tuple[SubCaption, Mapping[str, str]]]:
    """The sub-captions that have negatives, with the first one of each category."""
    negatives: dict[str, dict[str, str]] = {}
    for row in sample.tables[NEGATIVES.table]:
        negatives.setdefault(row["sub_id"], {}).setdefault(row["category"], fold(row["text"]))
    for caption in sample.record.captions:
        for sub in caption.sub_captions:
            if sub.sub_id in negatives:
                yield sub, negatives[sub.sub_id]


def first_of(negatives: Mapping[str, str], categories: Sequence[str]) -> str | None:
    """The negative of the first of these categories that there is."""
    return next((negatives[name] for name in categories if name in negatives), None)
