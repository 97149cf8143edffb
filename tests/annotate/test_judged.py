"""What only judges known things, with counterexamples for each kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recaption.types import SubCaption

Subs = Callable[..., tuple[SubCaption, ...]]

pytestmark = pytest.mark.usefixtures("by_rules")


@pytest.mark.parametrize(
    "text",
    [
        "The scene captures the beauty of these majestic animals in their natural environment.",
        "The overall scene depicts a peaceful moment shared by the three giraffes in their natural habitat.",
        "The image captures the excitement and energy of the skateboarder and the audience.",
    ],
)
def test_known_things_that_are_only_judged_are_no_content(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text",
    [
        "The image captures the joy of the children playing in the park.",
        "The scene depicts a moment of a dog leaping over a fence.",
        "The scene captures the beauty of a snowy mountain.",
        "The image captures the beauty of the Eiffel Tower.",
        "The scene captures the beauty of the red flowers.",
        "The scene is calm, with the dog sleeping on the rug.",
        "The scene is lively, with people enjoying the beach.",
        "The scene is peaceful, with the boats adding a touch of activity.",
        "The image shows the dog in its bed.",
    ],
)
def test_new_things_looks_and_actions_beside_a_judgement_are_content(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text",
    [
        # a quality of what was named
        "The image captures the owl's natural behavior and the beauty of its surroundings.",
        "The scene appears to be a tender moment between the nurse and the child.",
        # a mood, and what is felt, or a comparison
        "The mood is calm and serene, with the goats enjoying their time on the hill.",
        "The atmosphere is friendly and relaxed, as the hikers interact with each other.",
        "The scene is lively and full of energy, as the children enjoy their time together.",
        "The scene appears to be a cozy and relaxed environment, with the cat enjoying its time in the basket.",
        "The mood is casual, with the man apparently enjoying a quiet evening.",
        "The overall mood is peaceful, as if the horse is dreaming.",
        "The overall atmosphere is energetic and exciting, showcasing the rider's skill.",
        "The room seems to be a cozy and safe environment for the toddler to explore.",
        # a supposition about what was named, and its effect
        "The presence of these trucks suggests that the site might be a warehouse.",
        "The presence of these birds adds to the lively atmosphere.",
        # how known things are arranged or designed, in general
        "The arrangement of the cupcakes creates a pleasing display.",
        "The overall design of the lobby is modern and inviting, with a focus on comfort.",
        "The overall design of the lobby gives it a rustic and cozy feel.",
        "The overall appearance of the necklace is elegant and eye-catching.",
        "The soup is ready to be enjoyed.",
        "The lasagna appears to be a tasty and satisfying meal, ready to be served.",
        # composition
        "The tractor is the main focus of the image, occupying a significant portion of the frame.",
        "In addition to the boat and the pier, there are a few other objects in the scene.",
    ],
)
def test_a_judgement_of_known_things_is_no_content(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text",
    [
        "The image captures a funny moment of the owl interacting with its chick.",
        "The scene captures the owl's white feathers and its beauty.",
        "The scene appears to be a tender moment between a nurse and a child.",
        # what is seen to be done, and what is new
        "The mood is calm and serene, with the goats grazing on the hill.",
        "The mood is calm and serene, with goats enjoying their time on a hill.",
        "The scene is cozy, with the woman enjoying her time on the couch with the laptop and the book.",
        "The scene is outdoors, with the trees enjoying their time in the sun.",
        "The bed appears to be a cozy and comfortable place for the cat to drink.",
        "The scene suggests a cozy and safe environment for a toddler to explore.",
        # known or new, but named as content
        "The presence of two trucks suggests that the site might be a warehouse.",
        "The presence of these leaves and the vibrant wings of the bird creates a striking image.",
        "The presence of these trucks suggests that the driver is loading crates.",
        "The arrangement of the cupcakes and the candles creates a pleasing display.",
        "The arrangement of the spoons gives the kettle a funny face.",
        "The overall design of the lobby is wooden and inviting.",
        "The overall appearance of the necklace is green and eye-catching.",
        "The soup is ready to be enjoyed with a spoon and a slice of bread.",
        "The pizza is sliced and ready to be eaten.",
        "The two tractors are the main focus of the image.",
        "The tractor is the main focus of the image, occupying most of it from left to right.",
        "The man surfing is the main focus of the image.",
        "In addition to the boat, there are a few other boats in the scene.",
    ],
)
def test_what_is_told_beside_the_judgement_is_content(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_meta


def test_a_long_sentence_is_not_only_a_judgement(subs: Subs) -> None:
    """The patterns are not tried on it: they take quadratic time."""
    short = "The scene captures the bond between the mother and her baby, showcasing their love"
    assert subs(f"{short}.")[0].is_meta
    assert not subs(f"{short}{' and their love' * 30}.")[0].is_meta
