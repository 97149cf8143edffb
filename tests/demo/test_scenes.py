"""Scenes are pure functions of their seed."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from PIL import ImageChops

from recaption.demo import draw, scenes
from recaption.demo.scenes import Scene, SceneObject, render, render_with_boxes, sample_scene

SEEDS = range(300)


def test_a_seed_determines_the_scene():
    assert sample_scene(7) == sample_scene(7)
    assert len({sample_scene(seed) for seed in SEEDS}) == len(SEEDS)


def test_all_attributes_occur():
    drawn = [sample_scene(seed) for seed in SEEDS]
    items = [o for s in drawn for o in s.objects]
    assert {s.background for s in drawn} == set(scenes.BACKGROUNDS)
    assert {len(s.objects) for s in drawn} == {1, 2, 3, 4, 5}
    assert {o.shape for o in items} == set(scenes.SHAPES)
    assert {o.colour for o in items} == set(scenes.COLOURS) == set(draw.COLOURS)
    assert {o.size for o in items} == set(scenes.SIZES)
    assert {o.fill for o in items} == set(scenes.FILLS)
    assert {o.cell for o in items} == set(range(9))


def test_objects_are_in_reading_order_with_unique_names():
    for scene in map(sample_scene, SEEDS):
        assert [o.cell for o in scene.objects] == sorted({o.cell for o in scene.objects})
        assert len({o.name for o in scene.objects}) == len(scene.objects)


def test_rendering_is_reproducible_at_any_size():
    scene = sample_scene(3)
    assert render(scene, 96).tobytes() == render(scene, 96).tobytes()
    assert render(scene, 200).size == (200, 200)
    assert render(scene, 200).mode == "RGB"


@pytest.mark.parametrize("jitter", [False, True])
def test_boxes_are_those_of_what_is_drawn(jitter):
    for seed in range(20):
        item = sample_scene(seed).objects[0]
        scene = Scene(seed=seed, background="white", objects=(item,))
        image, (box,) = render_with_boxes(scene, 300, jitter=jitter)
        bare = render(Scene(seed=seed, background="white", objects=()), 300)
        difference = ImageChops.difference(image, bare).convert("L").point(lambda v: 255 * (v > 40))
        assert [edge * 300 for edge in box] == pytest.approx(difference.getbbox(), abs=3)


def test_with_jitter_objects_move_and_grow_within_their_cells():
    middles, widths = [], {"small": [], "large": []}
    for scene in map(sample_scene, SEEDS):
        for item, (x0, y0, x1, y1) in zip(scene.objects, render_with_boxes(scene, 12, jitter=True)[1], strict=True):
            assert item.column / 3 < x0 < x1 < (item.column + 1) / 3
            assert item.row / 3 < y0 < y1 < (item.row + 1) / 3
            widths[item.size].append(y1 - y0)
            if item.size == "small":
                middles.append((x0 + x1) / 2 - item.column / 3)
    assert min(middles) < 0.09 and max(middles) > 0.24
    assert max(widths["small"]) / min(widths["small"]) > 1.5
    assert sum(widths["small"]) / len(widths["small"]) < 0.65 * sum(widths["large"]) / len(widths["large"])


def test_without_jitter_scenes_are_drawn_as_before():
    """The other embedded models were trained on them."""
    scene = sample_scene(3)
    assert render(scene, 96).tobytes() == render_with_boxes(scene, 96)[0].tobytes()
    assert render(scene, 96).tobytes() != render_with_boxes(scene, 96, jitter=True)[0].tobytes()


@pytest.mark.parametrize("shape", scenes.SHAPES)
@pytest.mark.parametrize("fill", scenes.FILLS)
def test_an_object_stays_in_its_cell(shape, fill):
    """A large object in the centre does not reach the middle of a neighbouring cell."""
    item = SceneObject(cell=4, size="large", colour="red", fill=fill, shape=shape)
    full = render(Scene(seed=11, background="white", objects=(item,)), 96)
    bare = render(Scene(seed=11, background="white", objects=()), 96)
    difference = ImageChops.difference(full, bare).convert("L").point(lambda v: 255 * (v > 40))
    left, top, right, bottom = difference.getbbox()
    assert 24 < left < right < 72
    assert 24 < top < bottom < 72


def test_unknown_backgrounds_and_shapes_are_refused():
    with pytest.raises(ValueError, match="background"):
        draw.background("sea", 32, random.Random(0))
    with pytest.raises(ValueError, match="shape"):
        draw.outline("cube", 0, 0, 1, 0)


def test_importing_scenes_is_light():
    code = (
        "import sys, recaption.demo.scenes, recaption.demo.shards;"
        "heavy = {'torch', 'transformers', 'numpy', 'pyarrow', 'vllm', 'ray'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
