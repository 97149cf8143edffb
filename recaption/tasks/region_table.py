"""The table `regions`: the boxes of an image, in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def ranked(boxes: Mapping[str, Sequence[Box]], overlap: float, most: int) -> list[tuple[str, Box]]:
    """Of each phrase at most `most` boxes, no two with an IoU above `overlap`; all by descending area."""
    kept = [(phrase, box) for phrase in boxes for box in without_overlaps(boxes[phrase], overlap)[:most]]
    return sorted(kept, key=lambda pair: -area(pair[1]))


def region_rows(
    name: str, regions: Sequence[tuple[str, Box]], mentions: Mapping[str, Mention], *, is_point: bool
) -> list[dict[str, Any]]:
    """Rows of the table. `name` is <key>/<generation>; `mentions` has the place of each phrase in the captions."""
    made = []
    for rank, (phrase, box) in enumerate(regions):
        row: dict[str, Any] = {"region_id": f"{name}#{rank}", "phrase": phrase, "is_point": is_point}
        row["sub_id"], row["char_start"], row["char_end"] = mentions.get(phrase, NO_MENTION)
        row["x0"], row["y0"], row["x1"], row["y1"] = box
        made.append(row | {"score": None, "rank": rank})
    return made
