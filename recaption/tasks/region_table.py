"""The table `regions`: the boxes of an image, in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa

from recaption.schema import column
from recaption.tasks.base import TableSpec
from recaption.tasks.boxes import area, without_overlaps
from recaption.tasks.phrases import NO_MENTION, Mention
from recaption.types import Box

REGIONS: Final = TableSpec(
    name="regions",
    columns=pa.schema(
        [
            column("region_id", pa.string(), "<key>/<generation>#<rank>"),
            column("sub_id", pa.string(), "first sub-caption with the phrase; null: labels", null=True),
            column("phrase", pa.string(), "phrase of the request: what is in the box"),
            column("char_start", pa.int32(), "start of the phrase in the caption, in code points", null=True),
            column("char_end", pa.int32(), "its end, exclusive", null=True),
            column("x0", pa.float64(), "left edge, as a share of the upright image's width; x0 < x1"),
            column("y0", pa.float64(), "upper edge, as a share of the height; y0 < y1"),
            column("x1", pa.float64(), "right edge"),
            column("y1", pa.float64(), "lower edge"),
            column("is_point", pa.bool_(), "the model gave a point; the box is 0.1 % of each side around it"),
            column("score", pa.float64(), "score of the model; null: it gives none", null=True),
            column("rank", pa.int32(), "place among the regions of the image and generation: by score, then by area"),
        ]
    ),
    parent="image",
    description="boxes of phrases in the image",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Region:
    """A box of a phrase. `score` is None if the model gives none."""

    phrase: str
    box: Box
    score: float | None = None


def ranked(regions: Iterable[Region], overlap: float, most: int) -> list[Region]:
    """At most `most` boxes of each phrase, no two with an IoU above `overlap`; by descending score, then area."""
    best = defaultdict[str, dict[Box, float | None]](dict)
    for region in regions:
        known = best[region.phrase].get(region.box)
        best[region.phrase][region.box] = region.score if known is None else max(known, region.score or 0.0)
    kept = [
        Region(phrase=phrase, box=box, score=scores[box])
        for phrase, scores in best.items()
        for box in without_overlaps(scores, overlap, scores)[:most]
    ]
    return sorted(kept, key=lambda region: (-(region.score or 0.0), -area(region.box)))


def region_rows(
    name: str, regions: Sequence[Region], mentions: Mapping[str, Mention], *, is_point: bool
) -> list[dict[str, Any]]:
    """Rows of the table. `name` is <key>/<generation>; `mentions` has the place of each phrase in the captions."""
    made = []
    for rank, region in enumerate(regions):
        row: dict[str, Any] = {"region_id": f"{name}#{rank}", "phrase": region.phrase, "is_point": is_point}
        row["sub_id"], row["char_start"], row["char_end"] = mentions.get(region.phrase, NO_MENTION)
        row["x0"], row["y0"], row["x1"], row["y1"] = region.box
        made.append(row | {"score": region.score, "rank": rank})
    return made
