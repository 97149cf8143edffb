"""Sub-captions with their negatives, for formats with a true and a false text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from recaption.export.dataset import SUB_CAPTIONS, Select
from recaption.export.needs import NEGATIVES
from recaption.export.rows import ExportSample
from recaption.text import fold


def tables_of(generation: str) -> dict[str, Select]:
    """The tables that `changed` reads, with the negatives of a generation."""
    subs = Select(columns=("sub_id", "text"), named_in=(NEGATIVES.table,))
    return {NEGATIVES.table: NEGATIVES.made_by(generation), SUB_CAPTIONS: subs}


def changed(sample: ExportSample) -> Iterator[tuple[Mapping[str, str], Mapping[str, str]]]:
    """The rows of sub-captions that have negatives, each with the first negative of each category."""
    negatives: dict[str, dict[str, str]] = {}
    for sub_id, category, text in sample.tables[NEGATIVES.table].values("sub_id", "category", "text"):
        negatives.setdefault(sub_id, {}).setdefault(category, text)
    for sub in sample.tables[SUB_CAPTIONS]:
        yield sub, {category: fold(text) for category, text in negatives[sub["sub_id"]].items()}


def first_of(negatives: Mapping[str, str], categories: Sequence[str]) -> str | None:
    """The negative of the first of these categories that has one; None if none has."""
    return next((negatives[name] for name in categories if name in negatives), None)
