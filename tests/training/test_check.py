"""The checker finds exactly the errors of a caption."""

from __future__ import annotations

import pytest

from recaption.demo.scenes import Scene, SceneObject
from training.scene.captions import describe_long, describe_short
from training.scene.check import check_long, check_sentence, check_short

SCENE = Scene(
    seed=0,
    background="wood",
    objects=(
        SceneObject(cell=0, size="small", colour="red", fill="solid", shape="circle"),
        SceneObject(cell=2, size="large", colour="orange", fill="striped", shape="star"),
        SceneObject(cell=8, size="large", colour="blue", fill="hollow", shape="heart"),
    ),
)
LONG = (
    "The picture shows three objects. The background is a wooden table top. "
    "In the top left corner there is a small solid red circle. "
    "In the top right corner there is a large striped orange star. "
    "In the bottom right corner there is a large hollow blue heart. "
    "The red circle is to the left of the orange star. The blue heart is below the red circle. "
    "There are no people in the scene."
)
SHORT = "A red circle, an orange star and a blue heart on a wooden table top."


def test_captions_of_the_scene_are_the_expected_ones():
    assert describe_long(SCENE) == LONG
    assert describe_short(SCENE) == SHORT


@pytest.mark.parametrize(
    ("sentence", "kind", "wrong"),
    [
        ("The picture shows two objects", "count", ("count",)),
        ("The background is plain black", "background", ("background",)),
        ("In the top left corner there is a small solid red circle", "object", ()),
        ("In the top left corner there is a large solid red square", "object", ("size", "shape")),
        ("In the top left corner there is a small spotted blue circle", "object", ("fill", "colour")),
        ("In the centre sits a small solid red circle", "object", ("place",)),
        ("The blue heart is below the orange star", "relation", ()),
        ("The blue heart is to the right of the red circle", "relation", ("relation",)),
        ("The blue heart is above the red circle", "relation", ("relation",)),
        ("The green heart is below the red circle", "relation", ("relation",)),
        ("It is the only object in the picture", "only", ("count",)),
        ("There is no text in the image", "negation", ()),
        ("A quick brown fox jumps over the lazy dog", "unknown", ("unknown",)),
    ],
)
def test_every_kind_of_sentence_is_checked(sentence, kind, wrong):
    statement = check_sentence(sentence, SCENE)
    assert (statement.kind, statement.wrong) == (kind, wrong)


def test_a_missing_object_makes_a_caption_wrong():
    caption = LONG.replace("In the top right corner there is a large striped orange star. ", "")
    verdict = check_long(caption, SCENE)
    assert all(s.right for s in verdict.statements)
    assert verdict.missed == (2,)
    assert not verdict.right


def test_an_object_named_twice_is_wrong_the_second_time():
    twice = "In the top left corner there is a small solid red circle. "
    assert not check_long(LONG.replace(twice, twice * 2), SCENE).right


def test_cut_off_captions_are_wrong():
    assert not check_long(LONG[:-30], SCENE).right
    assert not check_short(SHORT[:-1], SCENE)


@pytest.mark.parametrize("other", ["a red star", "a blue circle"])
def test_wrong_short_captions(other):
    assert not check_short(SHORT.replace("an orange star", other), SCENE)
