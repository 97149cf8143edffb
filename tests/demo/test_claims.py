"""recaption.demo.claims: what captions claim about scenes."""

from __future__ import annotations

from recaption.demo.claims import claims
from recaption.demo.scenes import Scene, SceneObject, sample_scene
from recaption.probe import scenes

SCENE = Scene(
    seed=0,
    background="wood",
    objects=(
        SceneObject(cell=0, size="small", colour="red", fill="striped", shape="star"),
        SceneObject(cell=2, size="large", colour="blue", fill="solid", shape="heart"),
    ),
)


def test_true_captions_have_true_claims_only() -> None:
    for seed in range(50):
        scene = sample_scene(seed)
        found = claims(" ".join(scenes.sentences(scene)), scene)
        assert all(found.values())
        assert len(found) >= 2 + 4 * len(scene.objects)


def test_each_kind_of_false_claim_is_found() -> None:
    for false in (
        "The picture has three objects.",
        "The background is plain black.",
        "At the top left there is a small striped red circle.",
        "At the top left there is a large red star.",
        "At the top left there is a spotted red star.",
        "At the bottom left there is a red star.",
        "The red star is to the right of the blue heart.",
        "The red star is above the blue heart.",
        "The red star is to the left of the pink heart.",
    ):
        assert not all(claims(false, SCENE).values()), false
    assert all(claims("The image shows two objects. The red star is to the left of the blue heart.", SCENE).values())


def test_a_repeated_claim_counts_once() -> None:
    assert claims("A red star. A red star.", SCENE) == {"red star": True}
