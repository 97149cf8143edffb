"""What is left of a sentence without effects, ornaments and frames."""

from __future__ import annotations

import pytest

from recaption.annotate.reduced import reduced
from recaption.annotate.tagged_words import Token


def left(text: str) -> str:
    """Of words with their tags: "a/DT dog/NN"."""
    return " ".join(token.text for token in reduced([Token(*word.rsplit("/", 1), 0, 0) for word in text.split()]))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a/DT dog/NN runs/VBZ ,/, creating/VBG a/DT lively/JJ scene/NN", "a dog runs ,"),
        ("a/DT boy/NN stands/VBZ ,/, possibly/RB waiting/VBG ,/, while/IN a/DT girl/NN reads/VBZ",
         "a boy stands , , while a girl reads"),
        ("the/DT wall/NN is/VBZ gray/JJ ,/, providing/VBG a/DT contrast/NN to/IN the/DT sign/NN", "the wall is gray ,"),
        ("his/PRP$ white/JJ beard/NN enhances/VBZ his/PRP$ festive/JJ appearance/NN", "his white beard"),
        ("a/DT rose/NN ,/, blurred/VBN to/TO emphasize/VB the/DT bee/NN ,/, is/VBZ red/JJ", "a rose , , is red"),
        ("a/DT lush/JJ tapestry/NN of/IN green/JJ leaves/NNS", "a green leaves"),
        ("the/DT stem/NN is/VBZ a/DT deep/JJ brown/NN", "the stem is a brown"),
        ("a/DT man/NN in/IN the/DT corner/NN of/IN the/DT frame/NN", "a man in the corner"),
        ("the/DT sky/NN is/VBZ devoid/JJ of/IN any/DT clouds/NNS", "the sky is clear"),
        ("a/DT bird/NN against/IN a/DT pristine/JJ blue/JJ sky/NN", "a bird background a clear blue sky"),
        ("the/DT leaves/NNS are/VBP out/IN of/IN focus/NN", "the leaves are"),
    ],
)  # fmt: skip
def test_what_states_nothing_is_left_out(text: str, expected: str) -> None:
    assert left(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "they/PRP make/VBP their/PRP$ way/NN across/IN a/DT line/NN",
        "this/DT section/NN of/IN the/DT path/NN is/VBZ wet/JJ",
        "in/IN the/DT fourth/JJ picture/NN a/DT woman/NN smiles/VBZ",
        "a/DT cup/NN of/IN deep/JJ water/NN",
        "the/DT water/NN mirrors/VBZ the/DT colours/NNS of/IN a/DT bubble/NN",
    ],
)
def test_what_can_be_seen_stays(text: str) -> None:
    assert left(text) == " ".join(word.rsplit("/", 1)[0] for word in text.split())


def test_an_effect_ends_where_something_new_is_told() -> None:
    text = "the/DT bridge/NN dominates/VBZ the/DT image/NN ,/, its/PRP$ arches/NNS in/IN the/DT water/NN"
    assert left(text) == "the bridge , its arches in the water"
