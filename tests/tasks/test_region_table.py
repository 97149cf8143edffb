"""recaption.tasks.region_table: which boxes are kept, and their rows."""

from __future__ import annotations

import pyarrow as pa

from recaption import schema
from recaption.tasks.region_table import REGIONS, Region, ranked, region_rows

LARGE, INNER, SMALL, OTHER = (0.0, 0.0, 0.5, 0.5), (0.01, 0.01, 0.5, 0.5), (0.6, 0.6, 0.7, 0.7), (0.5, 0.0, 0.9, 0.5)


def test_the_largest_boxes_come_first_and_overlaps_count_within_a_phrase() -> None:
    found = [("kite", SMALL), ("kite", INNER), ("kite", LARGE), ("dog", INNER), ("dog", OTHER)]
    boxes = [Region(phrase=phrase, box=box) for phrase, box in found]
    expected = [("kite", LARGE), ("dog", INNER), ("dog", OTHER), ("kite", SMALL)]
    assert [(region.phrase, region.box) for region in ranked(boxes, 0.7, 5)] == expected
    assert [(region.phrase, region.box) for region in ranked(boxes, 0.7, 1)] == expected[:2]
    assert ranked([], 0.7, 5) == []


def test_boxes_with_scores_are_ordered_by_these() -> None:
    found = [("kite", LARGE, 0.4), ("kite", INNER, 0.6), ("kite", SMALL, 0.9), ("dog", OTHER, 0.7), ("dog", OTHER, 0.3)]
    boxes = [Region(phrase=phrase, box=box, score=score) for phrase, box, score in found]
    expected = [("kite", SMALL, 0.9), ("dog", OTHER, 0.7), ("kite", INNER, 0.6)]  # LARGE overlaps with a better one
    assert [(region.phrase, region.box, region.score) for region in ranked(boxes, 0.7, 5)] == expected
    assert [region.box for region in ranked(boxes, 0.7, 1)] == [SMALL, OTHER]


def test_rows_fit_the_table() -> None:
    regions = [Region(phrase="kite", box=LARGE, score=0.5), Region(phrase="dog", box=OTHER)]
    rows = region_rows("k/boxes", regions, {"kite": ("k/long/0#0", 2, 6)}, is_point=False)
    table = pa.Table.from_pylist(
        [{"key": "k", "generation": "boxes", **row} for row in rows],
        schema=schema.task_table("regions", REGIONS.columns),
    )
    table.validate(full=True)
    made = table.to_pylist()
    assert [row["region_id"] for row in made] == ["k/boxes#0", "k/boxes#1"] and [row["rank"] for row in made] == [0, 1]
    assert [(row["sub_id"], row["char_start"], row["char_end"]) for row in made] == [
        ("k/long/0#0", 2, 6),
        (None, None, None),
    ]
    assert [tuple(made[1][edge] for edge in ("x0", "y0", "x1", "y1")), made[1]["score"]] == [OTHER, None]
    assert made[0]["score"] == 0.5
    assert all(row.keys() == set(REGIONS.columns.names) for row in rows)
