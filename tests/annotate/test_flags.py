"""Flags of sub-captions: openers, negations, sentences about the picture, fragments."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recaption.types import SubCaption

Subs = Callable[..., tuple[SubCaption, ...]]


@pytest.mark.parametrize(
    ("text", "content"),
    [
        ("The image shows a dog.", "a dog."),
        ("In this image, we can see two dogs.", "two dogs."),
        ("This is a close-up photo of a red car.", "a red car."),
        ("The picture is a photograph of a cat.", "a cat."),
        ("A black-and-white photo of a bridge.", "a bridge."),
        ("The man shows his hand.", None),
        ("The image shows", None),
    ],
)
def test_the_content_starts_after_the_opener(subs: Subs, text: str, content: str | None) -> None:
    (sub,) = subs(text)
    assert sub.is_boilerplate == (content is not None)
    assert text[sub.content_start :] == (content or text)
    assert not sub.is_meta


@pytest.mark.parametrize(
    "text",
    [
        "There are no people in the scene.",
        "There is no text in the image.",
        "The image does not contain any text.",
        "No cars are visible.",
        "There isn't a cloud in the sky.",
        "The room is devoid of furniture.",
    ],
)
def test_sentences_with_a_negation(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_negation


@pytest.mark.parametrize(
    "text", ['A sign says "No dogs" in red.', "A dog sits.", "Now a nose is seen.", "A 'no parking' sign."]
)
def test_sentences_without_a_negation(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_negation


@pytest.mark.parametrize(
    "text",
    [
        "The composition is well balanced.",
        "Overall, the scene conveys a sense of calm.",
        "The lighting is soft and natural.",
        "The image is well composed.",
        "The photo was taken from a low angle.",
        "The overall mood is cheerful.",
        "I'm sorry, I can't help with that.",
        "Foreground:",
    ],
)
def test_sentences_about_the_picture(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text", ["The dog is calm.", "The image shows a dog.", "A camera lies on the table.", "The red car is fast."]
)
def test_sentences_about_the_content(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_meta


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
