"""Checks of boxes: in tables of tasks, and in the captions of parts of images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from recaption.problems import Problem
from recaption.validate.base import Shard, problem

EDGES = ("x0", "y0", "x1", "y1")
_WHOLE = (0.0, 0.0, 1.0, 1.0)


def check_boxes(shard: Shard) -> Iterator[Problem]:
    """A problem for each table with boxes that are not in the image or have no area. It names the first such box."""
    for name, table in shard.tables.items():
        if set(EDGES) <= set(table.column_names):
            yield from _check(shard.path(name), shard.columns(name, *EDGES))
        if name == "captions" and "box" in table.column_names:
            yield from _check(shard.path(name), (box or _WHOLE for box in shard.column(name, "box")))


def _check(path: str, boxes: Iterable[Sequence[Any]]) -> Iterator[Problem]:
    wrong = [(row, box) for row, box in enumerate(boxes) if not _is_box(box)]
    if wrong:
        row, box = wrong[0]
        more = f"; further such boxes: {len(wrong) - 1:,}" if len(wrong) > 1 else ""
        what = f"the box {tuple(box)} is not 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1"
        yield problem("value", f"{path}, row {row}", what + more)


def _is_box(box: Sequence[float | None]) -> bool:
    if len(box) != len(EDGES):
        return False
    x0, y0, x1, y1 = (-1.0 if edge is None else edge for edge in box)
    return 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1
