"""What rules take for statements about the picture, and for content."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recaption.types import SubCaption

Subs = Callable[..., tuple[SubCaption, ...]]

pytestmark = pytest.mark.usefixtures("by_rules")


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


@pytest.mark.parametrize(
    "text",
    [
        "A red door adds a pop of color to the scene.",
        "In the foreground, a wooden fence provides a stark contrast to the flowers.",
        "His brown shoes add a touch of elegance to his outfit.",
        "A sprinkling of pepper adds a final touch of flavor.",
        "The light-skinned man in the front is wearing a white shirt.",
        "The frame is weathered and gray.",
        "The painting casts a shadow on the wall.",
        "Dominating the scene is a yellow excavator with a large bucket.",
        "Its texture is rough.",
        "The lighting is soft, casting the shadow of a tree on a wall beside a bench.",
        "The background is out of focus, but it appears to be a dense collection of leaves.",
        "The image captures a wedding reception.",
        "This wide shot emphasizes the rust of the hull and the height of the crane.",
        "The light is low, so the boats throw long shadows on the water.",
        "The photo is set against a pale green backdrop, enhancing the mood.",
        "This long shot presents a quiet coastal scene.",
        # a clause beside the statement about the picture
        "The mood is festive, as the guests are dancing and clapping.",
        "The shot is taken from the side, and the rider is in mid-air.",
        "The scene is busy, with several waiters carrying trays.",
        "The photo is taken at dusk, with the sea being a deep blue.",
        "The setting seems to be outdoors, as there is a lamp post in the background.",
        "The scene is tense as the goalkeeper attempts to stop the ball.",
        # what a word for the picture is said to be
        "The atmosphere is that of a rock concert.",
        "The scene suggests a busy bus station.",
        "The overall mood suggests a crowded urban environment.",
        "The frame is filled by a giant sunflower.",
        "The scene captures the thrill of a tennis match.",
        "The backdrop is a blurred green, contrasting with the moth.",
        "The lighting, probably artificial, casts a shadow on the left side of the jar, adding depth.",
        "Chinese characters are visible on the banner, adding an element of intrigue.",
        "The image on the left depicts a frown, the image on the right a grin.",
        "Small black and white photos are hanging in two rows.",
        "In addition, there is a lamp present in the scene.",
    ],
)
def test_a_sentence_that_states_something_visible_is_content(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text",
    [
        'The work is signed "A. Lund" in the corner.',
        'There is a watermark "lundfoto" in the corner of the image.',
        "The image is in black and white, except for the umbrella, which is red.",
        "The scene is bright with clear skies above.",
        "The atmosphere seems cheerful with people dressed in costumes, dancing in pairs.",
        "The pieces are arranged on a grid.",
        "Each piece features abstract designs.",
        "The ceramic piece is silly.",
        "The print is wrinkled.",
        "The main color of the surface is a dull brown.",
        "The left light is brighter.",
        "The light is shining on the upper edge of the fabric.",
        "The object and the sphere are positioned slightly off-center to the left.",
        "The black one is not wearing a collar.",
        "They give the impression of a long summer.",
        "A design is partly seen on the right edge of the frame.",
        "The component is angled towards the corner.",
        "The restaurant angles away from the camera to the right.",
    ],
)
def test_a_thing_in_the_scene_is_content_though_its_noun_may_mean_the_picture(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text",
    [
        "Few pictures convey such calm.",
        "The picture is built on a strong diagonal.",
        "This long shot presents a quiet scene.",
        "The lighting creates a calm mood, so the eye rests.",
        "Both the cheerful colors and the tight framing contribute to a sense of abundance.",
        "The scene is bathed in natural light, enhancing the overall visual appeal of the mural.",
        "The natural lighting casts a soft glow on the scene, highlighting the details of the skin and the leaves.",
        "This interplay of light and shadow adds a sense of depth to the image.",
        "The background is blurred, which keeps the focus on the food.",
        "The photograph's composition and lighting contribute to a compelling visual narrative.",
        "The photo is taken from a low angle, and the kettle is the focal point.",
        "The atmosphere is lively, with people enjoying the music.",
        "The palette is restrained, with the red scarf providing the only accent.",
        "The lighting is diffuse, casting soft shadows that add depth.",
        "The image is grainy and was taken with a phone.",
    ],
)
def test_an_effect_on_the_viewer_is_no_content(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text",
    [
        "The room has a cozy and relaxed atmosphere.",
        "The portrait has a formal, somewhat melancholic feel.",
        "The living room exudes a warm and inviting ambiance.",
    ],
)
def test_a_thing_that_has_nothing_but_a_mood_is_no_content(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text",
    [
        "The room has a white ceiling and a cozy atmosphere.",
        "The room has a wooden, rustic feel.",
        "The kitchen has a rustic feel, with wooden cabinets and a stone floor.",
        "The lamp has a dim lighting.",
        "A dog has a playful mood.",
    ],
)
def test_what_a_thing_has_besides_a_mood_is_content(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text",
    [
        # the colors of what is shown; "The image is black and white" tells the medium
        "The scene is in black and white, giving it a nostalgic look.",
        # where a thing is, seen from the camera
        "The image is taken from a high angle, looking down at the runner from above.",
        # a look as the effect
        "The image is taken from a low angle, making the tower look tall and the bus look small.",
        "There are no other objects in the picture.",
        "The first photo is positioned in the middle of the page.",
        "The scene is set at night, with the harbor illuminated by lights, creating a festive mood.",
        "The overall atmosphere of the garage is clean and tidy.",
    ],
)
def test_what_can_be_seen_of_the_picture_as_a_whole_is_content(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text",
    [
        "The overall atmosphere of the garage is tidy and inviting.",
        "The image is black and white.",
        "The image is taken from a high angle, looking down.",
        "The image is taken from a low angle, making the tower look impressive.",
    ],
)
def test_a_judgement_of_the_picture_as_a_whole_is_no_content(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_meta
