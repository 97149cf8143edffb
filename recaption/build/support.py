"""Lowers the weights of sub-captions that a verification does not support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recaption.config import Weights
from recaption.types import Record, SubCaption

VERIFICATIONS: Final = "verifications"
"""The table with a row per verification: `sub_id`, `p_true`, …"""
CLEAR: Final = 0.1
"""Below this p_true, a sub-caption is clearly unsupported; above 1 - CLEAR, it is clearly supported."""
SUPPORTED: Final = 0.5


def weighed(records: Sequence[Record], verifications: pa.Table | None, weights: Weights) -> list[Record]:
    """The records; the weight of each verified sub-caption is multiplied by its `factor`.

    `verifications` has the columns `sub_id` and `p_true`, in [0, 1]; None if the build has no such table. Of several
    verifications of a sub-caption, the mean counts. Sub-captions without one keep their weights. A supported repetition
    of an unsupported sub-caption, for example its repair, is no repetition: it has the weight that the other one had.
    """
    if verifications is None or not verifications.num_rows:
        return list(records)
    found = verifications.group_by("sub_id").aggregate([("p_true", "mean")])
    found = found.filter(pc.is_finite(found["p_true_mean"]))
    p_true = dict(zip(found["sub_id"].to_pylist(), found["p_true_mean"].to_pylist(), strict=True))
    return [_weighed(record, p_true, weights.unsupported) for record in records]


def factor(p_true: float, unsupported: float) -> float:
    """`unsupported` for a p_true of at most `CLEAR`, 1 for at least 1 - `CLEAR`, linear in between."""
    share = (p_true - CLEAR) / (1 - 2 * CLEAR)
    return unsupported + (1 - unsupported) * min(max(share, 0.0), 1.0)


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
    return replace(
        record,
        captions=tuple(
            replace(caption, sub_captions=tuple(map(changed, caption.sub_captions))) for caption in record.captions
        ),
    )
