"""What only tells how known things are rendered, with counterexamples for each kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recaption.types import SubCaption

Subs = Callable[..., tuple[SubCaption, ...]]

pytestmark = pytest.mark.usefixtures("by_rules")


@pytest.mark.parametrize(
    "text",
    [
        # sharpness
        "The leaves, in sharp focus, contrast with the blurred backdrop, creating a striking image.",
        "The statue's background is intentionally blurred, creating a bokeh effect that draws attention to the statue.",
        "The bus is blurry and hard to make out.",
        "The vase is set against a softly blurred backdrop, drawing the viewer's attention to its shape.",
        # the focal point
        "The lemon, positioned centrally, is the focal point of the image, sharply in focus.",
        "The drummer is the main focus of the image, showcasing his talent and enthusiasm.",
        "The focus of the image is on the goat, with the background being out of focus.",
        "The focus is on the two dancers and their immediate surroundings.",
        "The focus is on the kettle and the stove, with the window serving as a secondary element.",
    ],
)
def test_the_rendering_of_known_things_is_no_content(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text",
    [
        "The leaves, in sharp focus, contrast with the blurred green backdrop.",  # a color
        "The circle's edges are noticeably blurred, adding depth to the image.",  # a look
        "The jar, positioned on the left side of the frame, is the focal point of the image.",  # a place
        "The clock is prominently positioned in the middle of the tower, making it the focal point.",
        "The cup is in focus in the foreground, while the background is blurry.",
        "The background is blurred, but it appears to be a kitchen.",
        "The background is out of focus, suggesting an office with a desk.",
        "The primary focus is on a white sofa.",  # new things
        "The focus is on the man in the red shirt.",
        "The focus is on the woman with her skis and poles.",
        "The woman's focus is solely on the bear in her hands.",  # actions
        "The horse is the main focus of the scene, with the woman guiding the horse through the field.",
        "The truck is the main focus of the scene, with the man occupying the back of the truck.",
        "The goalkeeper is the main focus of the image, displaying the trophy.",
        "The focus is on the boy climbing the fence.",
    ],
)
def test_looks_places_actions_and_new_things_are_content(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_meta
