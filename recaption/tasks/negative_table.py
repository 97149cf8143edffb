"""The table `negatives`: sentences with one change."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa

from recaption.schema import column
from recaption.tasks.base import TableSpec
from recaption.tasks.changes import CATEGORIES, Change

NEGATIVES: Final = TableSpec(
    name="negatives",
    columns=pa.schema(
        [
            column("sub_id", pa.string(), "sub-caption that was changed"),
            column("text", pa.string(), "the changed text"),
            column("category", pa.string(), ", ".join(CATEGORIES)),
            column("changed_start", pa.int32(), "start of the new words in text, in code points"),
            column("changed_end", pa.int32(), "their end, exclusive; a swap: the end of the second part"),
            column("replaced", pa.string(), "the words of the sub-caption in their place"),
            column("method", pa.string(), "rules or model"),
        ]
    ),
    parent="sub_caption",
    description="false sentences that differ from a sub-caption in one thing",
)


def row_of(change: Change) -> dict[str, Any]:
    """The columns of a change: all but `sub_id` and `method`."""
    return {
        "text": change.text,
        "category": change.category,
        "changed_start": change.start,
        "changed_end": change.end,
        "replaced": change.replaced,
    }
