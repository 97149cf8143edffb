"""Checks of boxes: in any table of a task that has them, and of captions of a part of an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from recaption.problems import Problem
from recaption.validate.base import Shard, problem

EDGES = ("x0", "y0", "x1", "y1")


def check_boxes(shard: Shard) -> Iterator[Problem]:
    """The first box of each table that is not in the image or has no area, and the number of further ones."""
    for name, table in shard.tables.items():
        if set(EDGES) <= set(table.column_names):
            yield from _check(shard.path(name), shard.columns(name, *EDGES))


def _check(path: str, boxes: Sequence[Sequence[Any]]) -> Iterator[Problem]:
    wrong = [row for row, box in enumerate(boxes) if not _is_box(box)]
    if wrong:
        what = f"the box {tuple(boxes[wrong[0]])} is not 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1"
        more = f", nor are those of {len(wrong) - 1:,} more rows" if len(wrong) > 1 else ""
        yield problem("value", f"{path}, row {wrong[0]}", what + more)


def _is_box(box: Sequence[float | None]) -> bool:
    x0, y0, x1, y1 = (-1.0 if edge is None else edge for edge in box)
    return 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
