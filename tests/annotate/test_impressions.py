"""Sentences that only describe the picture as a whole, and others that name content."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recaption.types import SubCaption

Subs = Callable[..., tuple[SubCaption, ...]]

pytestmark = pytest.mark.usefixtures("by_rules")


@pytest.mark.parametrize(
    "text",
    [
        # a mood
        "The overall mood is one of quiet longing — a pause between the harvest and the frost.",
        "The atmosphere is one of hushed melancholy, where old songs seem to linger.",
        "It’s a scene that invites patience, a moment of stillness before the storm.",
        "In this autumnal scene, the atmosphere is alive with the promise of rain.",
        "The image has a raw, documentary quality, possibly taken with a disposable camera.",
        "The style of the image is a plain snapshot, capturing the cyclist in her daily routine.",
        # what properties do together
        "The photograph's framing, lighting, and subject matter all contribute to a portrait of a busy bakery.",
        "The colors and the lighting work together to create a feeling of warmth.",
        "The scene conveys a sense of curiosity and outdoor activity.",
        "These elements combine to create a pleasing rhythm of shop windows.",
        # the light outside the picture
        "The overall lighting is even and bright, suggesting a cloudless day.",
        "The lighting suggests a hazy morning.",
        "The lighting is low, suggesting the sun has just set.",
        "The lighting in the workshop is dim.",
        "The lighting is soft, casting gentle shadows that add depth.",
        "The lack of harsh shadows suggests a grey morning.",
        # questions and labels
        "What can be inferred about the season?",
        "--- Would you like me to describe the colors?",
        "Timestamp: 2024-03-18 10:20:30",
        "Clothing and Appearance:",
        # known things as the centre of the picture
        "The goat is positioned in the center of the image, drawing the viewer's attention.",
        "The goat's position in the foreground draws the viewer's eye.",
        "The image is a photograph with a focus on the goat, capturing its size and the texture of its coat.",
        "The composition places the goat as the central figure, with the background serving to frame it.",
        "The focus of the image is on the goat, with no other significant objects in the frame.",
        "The focus is on the goat, with the background being less distinct.",
        "This image presents a captivating study in muted tones and gentle decay.",
    ],
)
def test_what_tells_of_the_picture_as_a_whole(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text",
    [
        "The atmosphere is lively, as the drummers march past the town hall.",
        "The atmosphere is dim, with small lanterns visible along the pier.",
        "The overall impression is of a harbor with fishing boats.",
        "The overall effect is one of a face turned to the left.",
        "The ambiance is reminiscent of a forest.",
        "The mood is thrilling, as the friends engage in this winter sport.",
        "The scene shows the work of a glassblower.",
        "The lighting suggests an early hour, as the sun is low over the roofs.",
        "The lighting is bright, with sunlight streaming through the bare branches.",
        "The lighting is harsh, leaving hard shadows under the bench.",
        "The lighting suggests a cellar, with several lamps on the ceiling.",
        "The lighting is soft, highlighting the textures of rope, canvas, and driftwood.",
        "There is no visible text on the tractor.",  # a negation, as the absence of a thing
        "There is no visible text, but a red flag hangs from the mast.",
        "There are no visible texts, and no people are present.",
        "There are no waves on the lake.",
        "Where is the cat?",
        "The goat is sleeping in the center of the image, drawing the viewer's attention.",
        "The image is a photograph with a focus on the goat jumping over the fence.",
        "The image is a photograph capturing a moment of a goat on a rooftop.",
        # a colour of a thing or a place
        "The color shifts to a deep blue towards the top.",
        "The primary color is dark green.",
        "Visible colors include red, teal, and gold.",
        "These dark hues are broken by a narrow strip of copper.",
        "The palette is muted, with the browns of the reeds and the dull silver of a kettle.",
        "The texture is rough with narrow ridges.",
        "The image is mostly pale, with a black foreground.",
        "The bottom third of the image is almost completely white.",
        "The photograph is taken from an elevated angle looking down into a flooded area.",
        "The light is warm and appears to be streaming through the curtains.",
    ],
)
def test_what_can_be_seen_is_content(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_meta


def test_an_answer_that_announces_itself_keeps_its_content(subs: Subs) -> None:
    text = "Here's a careful description of the image, focusing solely on what is visible:  The image shows a goat."
    sub = subs(text)[0]
    assert not sub.is_meta
    assert text[sub.content_start :] == "a goat."
