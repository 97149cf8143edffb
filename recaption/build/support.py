"""Lowers the weights of sub-captions that a verification does not support, or that are dissimilar to the image."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recaption.config import Dissimilar, Weights
from recaption.types import Record, SubCaption

VERIFICATIONS: Final = "verifications"
"""The table with a row per verification: `sub_id`, `p_true`, …"""
SCORES: Final = "scores"
"""The table with a row per scored text: `generation`, `sub_id`, `object`, `score`, …"""
CLEAR: Final = 0.1
"""Below this p_true, a sub-caption is clearly unsupported; above 1 - CLEAR, it is clearly supported."""
SUPPORTED: Final = 0.5


def weighed(records: Sequence[Record], tables: Mapping[str, pa.Table], weights: Weights) -> list[Record]:
    """The records with the weights that follow from the `tables` of tasks: see `by_verification`, `by_similarity`."""
    records = by_verification(records, tables.get(VERIFICATIONS), weights.unsupported)
    if weights.dissimilar is not None:
        records = by_similarity(records, tables.get(SCORES), weights.dissimilar)
    return records


def by_similarity(records: Sequence[Record], scores: pa.Table | None, dissimilar: Dissimilar) -> list[Record]:
    """The records; the weight of each scored sub-caption is multiplied by a factor: `dissimilar.factor` for a score of
    at most `low`, 1 for at least `high`, linear in between. Sub-captions without a score keep their weights."""
    if scores is None:
        return list(records)
    of_sub_captions = pc.and_(pc.is_valid(scores["sub_id"]), pc.is_null(scores["object"]))
    ours = pc.equal(scores["generation"], dissimilar.generation)
    scores = scores.filter(pc.and_(of_sub_captions, ours)).select(["sub_id", dissimilar.column])
    scores = scores.filter(pc.is_finite(scores[dissimilar.column]))
    factors = {
        sub_id: _between(score, dissimilar.low, dissimilar.high, dissimilar.factor)
        for sub_id, score in zip(*(column.to_pylist() for column in scores.columns), strict=True)
    }
    return [
        _with_sub_captions(r, lambda sub: replace(sub, weight=round(sub.weight * factors.get(sub.sub_id, 1.0), 4)))
        for r in records
    ]


def by_verification(records: Sequence[Record], verifications: pa.Table | None, unsupported: float) -> list[Record]:
    """The records; the weight of each verified sub-caption is multiplied by its `factor`.

    `verifications` has the columns `sub_id` and `p_true`, in [0, 1]; None if the build has no such table. The mean
    of several verifications of a sub-caption is used. Unverified sub-captions keep their weights. A supported
    sub-caption that repeats an unsupported one, for example its repair, does not count as a repetition: it gets the
    weight that the unsupported one had.
    """
    if verifications is None or not verifications.num_rows:
        return list(records)
    found = verifications.group_by("sub_id").aggregate([("p_true", "mean")])
    found = found.filter(pc.is_finite(found["p_true_mean"]))
    p_true = dict(zip(found["sub_id"].to_pylist(), found["p_true_mean"].to_pylist(), strict=True))
    return [_weighed(record, p_true, unsupported) for record in records]


def factor(p_true: float, unsupported: float) -> float:
    """`unsupported` for a p_true of at most `CLEAR`, 1 for at least 1 - `CLEAR`, linear in between."""
    return _between(p_true, CLEAR, 1 - CLEAR, unsupported)


def _between(value: float, low: float, high: float, least: float) -> float:
    share = (value - low) / (high - low)
    return least + (1 - least) * min(max(share, 0.0), 1.0)


def _weighed(record: Record, p_true: Mapping[str, float], unsupported: float) -> Record:
    base = {sub.sub_id: sub.weight for caption in record.captions for sub in caption.sub_captions}

    def changed(sub: SubCaption) -> SubCaption:
        p = p_true.get(sub.sub_id)
        if p is None:
            return sub
        weight, dup_of = sub.weight, sub.dup_of
        if dup_of is not None and p_true.get(dup_of, 1.0) < SUPPORTED <= p:
            weight, dup_of = base[dup_of], None
        return replace(sub, weight=round(weight * factor(p, unsupported), 4), dup_of=dup_of)

    if not base.keys() & p_true.keys():
        return record
    return _with_sub_captions(record, changed)


def _with_sub_captions(record: Record, changed: Callable[[SubCaption], SubCaption]) -> Record:
    return replace(
        record,
        captions=tuple(
            replace(caption, sub_captions=tuple(map(changed, caption.sub_captions))) for caption in record.captions
        ),
    )
