"""Questions about places have true answers."""

from __future__ import annotations

import random

import pytest

from recaption.demo.scenes import Scene, SceneObject, sample_scene
from training.locate.phrases import KINDS, WHOLE, absent, asked, cells

SCENE = Scene(
    seed=0,
    background="wood",
    objects=(
        SceneObject(cell=0, size="small", colour="red", fill="solid", shape="star"),
        SceneObject(cell=5, size="large", colour="blue", fill="hollow", shape="star"),
    ),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("small solid red star", (0,)),
        ("blue star", (5,)),
        ("star", (0, 5)),
        ("wooden table top", (WHOLE,)),
        ("table top", (WHOLE,)),
        ("checkered tablecloth", ()),
        ("red heart", ()),
    ],
)
def test_cells(text, expected):
    assert cells(SCENE, text) == expected


def test_phrases_of_captions_are_in_their_order():
    phrases = asked(SCENE, "caption", random.Random(0))
    assert [*phrases] == ["wooden table top", "small solid red star", "large hollow blue star", "red star", "blue star"]
    assert [*asked(SCENE, "names", random.Random(0))] == ["red star", "blue star", "wooden table top"]
    assert [*asked(SCENE, "shapes", random.Random(0))] == ["table top", "star"]


def test_free_lists_have_absent_things():
    found = [p for seed in range(200) for p in asked(sample_scene(seed), "free", random.Random(seed)).values()]
    assert 0.05 < sum(not cells for cells in found) / len(found) < 0.25
    assert not any(cells(sample_scene(seed), absent(sample_scene(seed), random.Random(seed))) for seed in range(50))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("free", "one")])
def test_other_lists_name_what_is_there(kind):
    for seed in range(50):
        phrases = asked(sample_scene(seed), kind, random.Random(seed))
        assert phrases and all(phrases.values())


def test_a_single_phrase_is_often_absent():
    found = [asked(sample_scene(seed), "one", random.Random(seed)) for seed in range(300)]
    assert all(len(phrases) == 1 for phrases in found)
    absent_ones = sum(not cells for phrases in found for cells in phrases.values())
    assert 0.25 < absent_ones / len(found) < 0.45
