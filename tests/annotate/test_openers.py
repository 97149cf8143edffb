"""Openers: frame phrases in front of content."""

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
        ("The image is a photo capturing a moment of two dogs.", "a moment of two dogs."),
        ("A black-and-white photo of a bridge.", "a bridge."),
        ("A high-angle, close-up shot captures a bowl on a table.", "a bowl on a table."),
        ("An eye-level full outdoor shot on a sunny day shows a black car.", "a black car."),
        ("A long shot at night shows a hill covered in snow.", "a hill covered in snow."),
        ("Captured from a low angle, a lighthouse towers over the rocks.", "a lighthouse towers over the rocks."),
        ("Captured at eye-level on an overcast day, a small jet stands here.", "a small jet stands here."),
        ("In a medium, eye-level shot, two women read a book.", "two women read a book."),
        ("From a bird's-eye perspective, a white plate holds some fruit.", "a white plate holds some fruit."),
        ("Captured from a high angle, the photograph presents a striking view of a bridge.", "a bridge."),
        ("Captured from a low angle, a full shot reveals the intricate details of a stone wall.", "a stone wall."),
        ("The setting is a dark, eerie forest.", "a dark, eerie forest."),
        ("The primary focus is on a white sofa.", "a white sofa."),
        ("The focal point of the image is a large tree.", "a large tree."),
        ("Depicted is a red car.", "a red car."),
        ("Presented here is a side view of a fire engine.", "a fire engine."),
        ("It's a black and white photo of a dog.", "a dog."),
        ("This appears to be a photograph of a kitchen.", "a kitchen."),
        ("The photograph, taken at night, offers a view of the ruins.", "the ruins."),
        ("The image centers on a ceramic vase.", "a ceramic vase."),
        ("The viewer sees a stone bridge.", "a stone bridge."),
        ("Taken at night, the photo shows a bridge.", "a bridge."),
        ("The image you sent contains a barcode.", "a barcode."),
        ("The photograph showcases the beauty of Porto Salvo in Italy.", "Porto Salvo in Italy."),
        ("The image captures a football match.", "a football match."),  # an event is content
        ("A photo of a dog that sleeps on a bed.", "a dog that sleeps on a bed."),
        ("The scene appears to be set in a parking garage.", "a parking garage."),
        (
            "Captured from a low angle, a calm scene unfolds against a blue sky.",
            "a calm scene unfolds against a blue sky.",
        ),
        ("The scene seems to be taking place in a barn.", "a barn."),
        ("The scene is taking place on a narrow bridge.", "a narrow bridge."),
        ("The scene takes place in front of a red barn.", "in front of a red barn."),
        ("The scene is set outdoors, with two tents.", "outdoors, with two tents."),
        ("The image is taken in a greenhouse.", "a greenhouse."),
        ("Here's a detailed description of the image: A dog runs.", "A dog runs."),
        (
            "Here's a rich description of the picture, with a focus on colors, light and mood:  A dog runs.",
            "A dog runs.",
        ),
        ("Here’s what I can see: two men eat bread.", "two men eat bread."),
        ("Certainly, here is the caption: The image shows a dog.", "a dog."),
    ],
)
def test_the_content_starts_after_the_openers(subs: Subs, text: str, content: str) -> None:
    (sub,) = subs(text)
    assert sub.is_boilerplate
    assert text[sub.content_start :] == content
    assert not sub.is_meta


@pytest.mark.parametrize(
    "text",
    [
        "The man shows his hand.",
        "The image shows",
        "A photo of a soldier lies on a desk.",
        "The portrait of a king hangs on the wall.",
        "In the center of the image, a cat sits.",
        "On the left side of the image, there is a tree.",
        "The background is a brick wall.",
        "Taken from the shelf, the book lies on the table.",
        "Captured mid-jump, a dog reaches for the ball.",
        "The singer's focus is on the microphone.",
        "The mantel's centerpiece is a brass clock.",
        "A painting of a woman wearing a hat and holding a fan hangs above the sofa.",
        "Here's a red car: it has no doors.",
    ],
)
def test_a_sentence_without_a_frame_phrase_is_all_content(subs: Subs, text: str) -> None:
    (sub,) = subs(text)
    assert not sub.is_boilerplate and sub.content_start == 0
    assert not sub.is_meta


def test_an_opener_of_a_picture_remains_a_statement_about_the_picture(subs: Subs) -> None:
    (sub,) = subs("Shot from a low angle, the picture emphasizes height.")
    assert sub.is_meta and not sub.is_boilerplate
