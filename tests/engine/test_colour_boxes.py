"""Boxes of coloured objects in scenes, found by their colours."""

from __future__ import annotations

import numpy as np

from recaption.demo.scenes import render, sample_scene
from recaption.engine.colour_boxes import boxes_of


def test_boxes_lie_in_the_cells_of_their_objects() -> None:
    right = total = 0
    for seed in range(12):
        scene = sample_scene(seed)
        alone = [o for o in scene.objects if [other.colour for other in scene.objects].count(o.colour) == 1]
        found = boxes_of(np.asarray(render(scene, 96)), [o.name for o in alone])
        for one in found:
            x0, y0, x1, y1 = one.box
            assert 0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1 and 0 < one.score <= 1
            item = alone[one.phrase]
            right += (int(1.5 * (x0 + x1)), int(1.5 * (y0 + y1))) == (item.column, item.row)
        total += len(alone)
    assert right >= 0.8 * total


def test_phrases_without_a_colour_and_colours_that_are_absent_have_no_box() -> None:
    pixels = np.full((96, 96, 3), 250, dtype=np.uint8)
    pixels[40:56, 70:90] = (216, 32, 40)
    (one,) = boxes_of(pixels, ["a tablecloth", "small solid red circle", "blue star"])
    assert (one.phrase, one.box) == (1, (70 / 96, 40 / 96, 90 / 96, 56 / 96))
