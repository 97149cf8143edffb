"""recaption.validate.boxes: boxes of any table that are none."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from recaption.validate.base import Shard
from recaption.validate.boxes import check_boxes


def shard(*boxes: tuple[Any, ...]) -> Shard:
    build: Any = SimpleNamespace()
    columns = {name: [box[at] for box in boxes] for at, name in enumerate(("x0", "y0", "x1", "y1"))}
    types = pa.schema([(name, pa.float64()) for name in columns])
    of_captions = pa.table({"box": pa.array([None, *map(list, boxes)], pa.list_(pa.float64()))})
    tables = {"regions": pa.table(columns, schema=types), "captions": of_captions}
    return Shard(build=build, manifest={}, entry={"name": "00000"}, tables=tables)


def test_boxes_in_the_image_are_right() -> None:
    assert list(check_boxes(shard((0.0, 0.0, 1.0, 1.0), (0.1, 0.2, 0.3, 0.4)))) == []
    assert list(check_boxes(shard())) == []


@pytest.mark.parametrize(
    "box",
    [
        (0.5, 0.1, 0.4, 0.9),  # reversed
        (0.5, 0.1, 0.5, 0.9),  # no width
        (-0.1, 0.1, 0.5, 0.9),
        (0.1, 0.1, 1.5, 0.9),
        (112.0, 40.0, 318.0, 205.0),  # pixels
        (0.1, math.nan, 0.5, 0.9),
        (0.1, 0.1, 0.5, None),
    ],
)
def test_others_are_problems(box: tuple[Any, ...]) -> None:
    found = list(check_boxes(shard((0.0, 0.0, 1.0, 1.0), box, box)))
    assert [(one.kind, one.severity) for one in found] == [("value", "error")] * 2
    assert [one.where for one in found] == ["regions/00000.parquet, row 1", "captions/00000.parquet, row 2"]
    assert all(one.what.startswith(f"the box {box} is not 0 <= x0 < x1 <= 1") for one in found)
    assert all(one.what.endswith("; further such boxes: 1") for one in found)
