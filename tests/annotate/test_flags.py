"""Flags of sub-captions: negations and fragments."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recaption.types import SubCaption

Subs = Callable[..., tuple[SubCaption, ...]]


@pytest.mark.parametrize(
    "text",
    [
        "There are no people in the scene.",
        "There is no text in the image.",
        "There are no street signs.",
        "His face is not clearly visible.",
        "The image does not contain any text.",
        "No cars are visible.",
        "There isn't a cloud in the sky.",
        "The room is devoid of furniture.",
    ],
)
def test_sentences_with_a_negation(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_negation


@pytest.mark.parametrize(
    "text",
    [
        'A sign says "No dogs" in red.',
        "A dog sits.",
        "Now a nose is seen.",
        "A 'no parking' sign.",
        "A no left turn signal hangs above the street.",
        "The do not enter sign is red.",
        "A red no-stopping sign marks the lane.",
        "A no fishing placard stands on the pier.",
        "The parcel has small text that is not legible.",
        "A cyclist rides along the road, but his face is not clearly visible.",
        "Several boats lie at the pier, although their names cannot be seen.",
    ],
)
def test_sentences_without_a_negation(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_negation


def test_fragments_have_no_end_and_are_cut_off_or_have_no_verb(subs: Subs) -> None:
    assert [s.is_fragment for s in subs("A dog sits. The cat is ly", finish="length")] == [False, True]
    assert [s.is_fragment for s in subs("A dog sits. The cat is ly", finish="stop")] == [False, False]
    assert [s.is_fragment for s in subs("A dog sits. The cat lies.", finish="length")] == [False, False]
    assert [s.is_fragment for s in subs("a red car", finish=None)] == [True]


@pytest.mark.parametrize(
    "text",
    [
        "Caption: A brown dog sits on a wooden bench.",
        "Photo: Two cats lie on a sofa.",
        "If you look closely, a small bird sits on the branch.",
        "I-beams support the roof of the hall.",
        "Sorry-looking flowers fill a vase.",
        "Thank you cards lie on the table.",
        "The sunlight reaches the wooden floor.",
    ],
)
def test_sentences_that_only_start_like_an_assistants(subs: Subs, text: str) -> None:
    (sub,) = subs(text)
    assert sub.objects and not sub.is_meta


def test_speech_in_a_quotation_that_does_not_end_is_not_an_assistants(subs: Subs) -> None:
    (sub,) = subs('A poster shows a man shouting, "I do not know.')
    assert sub.objects and not sub.is_meta
    assert subs('I do not know what the "dog does.')[0].is_meta
