"""What is false of a scene, and which one thing was changed."""

from __future__ import annotations

import pytest

from recaption.demo.scenes import Scene, SceneObject
from training.reword.check import category, is_false

SCENE = Scene(
    seed=0,
    background="wood",
    objects=(
        SceneObject(cell=0, size="small", colour="red", fill="solid", shape="star"),
        SceneObject(cell=8, size="large", colour="orange", fill="hollow", shape="heart"),
    ),
)
STAR = "In the top left corner there is a small solid red star."
RELATION = "The red star is above the orange heart."


@pytest.mark.parametrize(
    ("sentence", "false"),
    [
        (STAR, False),
        (STAR.replace("red", "turquoise"), True),
        (STAR.replace("left", "right"), True),
        (RELATION, False),
        ("The red star is to the left of the orange heart.", False),  # also true of its column
        ("The orange heart is above the red star.", True),
        ("The background is a wooden table top.", False),
        ("The background is a wooden door.", True),
        ("A red star and an orange heart on a wooden table top.", False),
        ("A red star on a wooden table top.", False),
        ("A red star and an olive heart on a wooden table top.", True),
        ("A red star and an orange heart on a checkered tablecloth.", True),
        ("Something else.", False),
    ],
)
def test_false(sentence, false):
    assert is_false(sentence, SCENE) == false


@pytest.mark.parametrize(
    ("sentence", "other", "expected"),
    [
        (STAR, STAR.replace("red", "blue"), "attribute"),
        (STAR, STAR.replace("star", "heart"), "object"),
        (STAR, STAR.replace("left", "right"), "place"),
        (STAR, STAR.replace("small solid", "large hollow"), None),
        (STAR, RELATION, None),
        (RELATION, RELATION.replace("above", "below"), "relation"),
        (RELATION.replace("above", "to the left of"), RELATION.replace("above", "to the right of"), "place"),
        (RELATION, "The orange heart is above the red star.", "swap"),
        (RELATION, "The red heart is above the orange star.", None),
        (STAR, STAR, None),
    ],
)
def test_category(sentence, other, expected):
    assert category(sentence, other) == expected
