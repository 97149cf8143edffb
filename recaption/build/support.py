"""Lowers the weights of sub-captions that a verification does not support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recaption.config import Weights
from recaption.types import Caption, Record

VERIFICATIONS: Final = "verifications"
"""The table with a row per verification: `sub_id`, `p_true`, …"""
CLEAR: Final = 0.1
"""Below this p_true, a sub-caption is clearly unsupported; above 1 - CLEAR, it is clearly supported."""


def weighed(records: Sequence[Record], verifications: pa.Table | None, weights: Weights) -> list[Record]:
    """The records; the weight of each verified sub-caption is multiplied by its `factor`.

    `verifications` has the columns `sub_id` and `p_true`, in [0, 1]; None if the build has no such table. Of several
    verifications of a sub-caption, the mean counts. Sub-captions without one keep their weights.
    """
    if verifications is None or not verifications.num_rows:
        return list(records)
    found = verifications.group_by("sub_id").aggregate([("p_true", "mean")])
    found = found.filter(pc.is_finite(found["p_true_mean"]))
    p_true = dict(zip(found["sub_id"].to_pylist(), found["p_true_mean"].to_pylist(), strict=True))
    return [
        replace(record, captions=tuple(_weighed(caption, p_true, weights) for caption in record.captions))
        for record in records
    ]


def factor(p_true: float, unsupported: float) -> float:
    """`unsupported` for a p_true of at most `CLEAR`, 1 for at least 1 - `CLEAR`, linear in between."""
    share = (p_true - CLEAR) / (1 - 2 * CLEAR)
    return unsupported + (1 - unsupported) * min(max(share, 0.0), 1.0)


def _weighed(caption: Caption, p_true: Mapping[str, float], weights: Weights) -> Caption:
    if not any(sub.sub_id in p_true for sub in caption.sub_captions):
        return caption
    subs = [
        replace(sub, weight=round(sub.weight * factor(p_true[sub.sub_id], weights.unsupported), 4))
        if sub.sub_id in p_true
        else sub
        for sub in caption.sub_captions
    ]
    return replace(caption, sub_captions=tuple(subs))
