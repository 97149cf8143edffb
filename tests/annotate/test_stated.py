"""What a sentence states beside a statement about the picture, with counterexamples for each kind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recaption.types import SubCaption

Subs = Callable[..., tuple[SubCaption, ...]]

pytestmark = pytest.mark.usefixtures("by_rules")


@pytest.mark.parametrize(
    "text",
    [
        # many things, and an effect
        "The presence of so many umbrellas and towels on the sand creates a cheerful mood.",
        # after an adjective that looks like an effect
        "The overall atmosphere of the garage is calm and inviting, with the two mechanics working on a van.",
        # someone does something
        "The atmosphere is playful as the puppy enjoys its toy.",
        "The mood is relaxed, with the waiter enjoying a quiet moment.",
        "The overall vibe is drowsy, with the cat sleeping peacefully.",
        "The scene has a busy atmosphere, with people engaging in various activities, such as painting or reading.",
        # what is known, with its look
        "The scene is scenic, with the rocky cliffs in the distance adding to the drama of the view.",
        "The overall mood is gloomy, with the dark sky casting a dim light over the area.",
        "The scene is calm and serene, with the sailboats adding a touch of life.",
        # a kind of place, the weather
        "The atmosphere is that of a lively and welcoming village environment.",
        "The scene appears to be a formal dining setting.",
        "The scene suggests a tidy work environment.",
        "The foggy atmosphere gives the picture an air of mystery.",
        "The photo was taken at a harbor.",
        "The scene is bustling with shoppers.",
        "It is a beautiful scene with mountains.",
        "The overall mood suggests a quiet environment for the horses to rest.",
        # an event, a sport
        "The atmosphere is lively, capturing the energy of a competitive hockey match.",
        "The scene captures the excitement of a competitive volleyball match in progress.",
        "The mood is solemn, as everyone is gathered to watch the ceremony.",
        "The scene suggests a festive gathering.",
        "The scene showcases the thrill of surfing.",
        "The mood is exciting, as the group engages in this winter sport.",
        # what is remarkable
        "The scene is unusual, as it is not common to see a goat on a sofa.",
        "The picture is funny because it shows a parrot, which is wearing glasses.",
        "The photo is black and white, showing a tram.",
        "The light on the left side is closer to the door.",
        "The weather is cloudy.",
    ],
)
def test_content_beside_a_statement_about_the_picture(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text",
    [
        "The overall atmosphere of the scene is cheerful and inviting.",
        "The overall atmosphere of the kitchen is cozy and inviting.",  # a place as a whole
        "The lighting in the hall is soft and even.",
        "The atmosphere is lively, as everyone enjoys the activity.",
        "The atmosphere is relaxed, with everyone enjoying their time together.",
        "The mood is calm, with the swan being the main focus.",
        "The composition is balanced, with the brown dog as its center.",
        "The palette is restrained, with the green door providing the only accent.",
        "The scene conveys a sense of luxury, making it an inviting space for a special occasion.",
        "The atmosphere is warm, perfect for sharing a pizza with friends.",
        "The atmosphere is romantic, ideal for a wedding.",
        "The mood is energetic, highlighting the boy's passion for skateboarding.",
        "The scene is full of energy, showcasing the excitement of the sport.",
        "The photo was taken at a low angle, looking up at the statue.",
        "The atmosphere in the stadium is electric.",
        "The illumination is natural, coming from a window on the left.",
    ],
)
def test_a_thing_named_in_passing_is_no_content(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_meta


def test_the_state_of_a_place_is_seen(subs: Subs) -> None:
    assert not subs("The overall atmosphere of the bathroom is clean and tidy.")[0].is_meta


def test_what_is_not_common_is_in_the_picture(subs: Subs) -> None:
    (sub,) = subs("It is not common to see a goat on a sofa.")
    assert [tag.lemma for tag in sub.objects] == ["goat", "sofa"]
    (sub,) = subs("There is not a goat on the sofa.")
    assert [tag.lemma for tag in sub.objects] == ["sofa"]


@pytest.mark.parametrize(
    "text",
    [
        "The lighting, seemingly artificial, casts a soft glow on the bottles, enhancing their appeal.",
        "The light is bright, casting shadows on the grass and highlighting the texture of the stones.",
        "The atmosphere is peaceful, as there are no people in sight.",
        "The scene suggests a lively city vibe.",
        "The image was captured during the day under an overcast sky.",
        "The overall scene conveys a sense of calm in a sunny mood.",
        "The image depicts an equestrian scene.",
        "The overall lighting is natural, and the child appears to be looking at the camera.",
    ],
)
def test_lit_things_weather_towns_and_absent_things_are_content(subs: Subs, text: str) -> None:
    assert not subs(text)[0].is_meta


@pytest.mark.parametrize(
    "text",
    [
        "The lighting is natural, casting a soft glow on the scene.",
        "The image is clear, with no visible distortion or blurring.",
        "It conveys a sense of city life.",
        "This shot, taken on a sunny day, beautifully captures the serene beauty of nature.",
        "The relative positions of these objects create a balanced composition in the image.",
        "The image does not provide any additional context about the location of the tower.",
        "The overall composition of the image emphasizes the grandeur of the tower.",
    ],
)
def test_light_on_the_scene_faults_of_the_image_and_positions_as_a_whole_are_no_content(subs: Subs, text: str) -> None:
    assert subs(text)[0].is_meta
