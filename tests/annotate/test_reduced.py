"""What is left of a sentence without effects, ornaments and frames."""

from __future__ import annotations

import pytest

from recaption.annotate.reduced import affirmed, reduced
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
        ("the/DT sky/NN above/IN is/VBZ gray/JJ", "the sky is gray"),
        ("above/IN ,/, the/DT sky/NN is/VBZ gray/JJ", "the sky is gray"),
        ("scattered/VBN clouds/NNS", "clouds"),
        ("a/DT wall/NN painted/VBN white/JJ", "a wall white"),
        ("a/DT pair/NN of/IN old/JJ boots/NNS", "a old boots"),
        ("a/DT girl/NN performing/VBG a/DT daring/JJ stunt/NN", "a girl a daring stunt"),
        ("a/DT calm/JJ ,/, quiet/JJ park/NN scene/NN", "a park scene"),
        ("a/DT fox/NN is/VBZ the/DT main/JJ subject/NN", "a fox is the"),
        ("hills/NNS in/IN the/DT distance/NN", "hills background"),
        ("the/DT fox/NN 's/POS gaze/NN is/VBZ directed/VBN to/IN a/DT bird/NN", "the fox 's looking to a bird"),
        ("a/DT tower/NN stands/VBZ tall/JJ", "a tower stands"),
        ("a/DT tower/NN stands/VBZ out/RP", "a tower"),
        ("a/DT wall/NN with/IN text/NN ,/, suggesting/VBG a/DT game/NN ,/, as/IN indicated/VBN by/IN the/DT logo/NN",
         "a wall with text , the logo"),
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
        "the/DT sky/NN above/IN the/DT hills/NNS is/VBZ gray/JJ",
        "a/DT pair/NN of/IN swans/NNS",
        "a/DT pair/NN of/IN boots/NNP",
        "calm/JJ water/NN",
        "her/PRP$ gaze/NN is/VBZ directed/VBN to/IN a/DT bird/NN",
        "a/DT player/NN serving/VBG during/IN a/DT match/NN",
        "a/DT girl/NN painted/VBD a/DT boat/NN",
        "a/DT band/NN performing/VBG a/DT song/NN",
        "a/DT tall/JJ tower/NN",
        "the/DT water/NN mirrors/VBZ the/DT colours/NNS of/IN a/DT bubble/NN",
    ],
)
def test_what_can_be_seen_stays(text: str) -> None:
    assert left(text) == " ".join(word.rsplit("/", 1)[0] for word in text.split())


def test_an_effect_ends_where_something_new_is_told() -> None:
    text = "the/DT bridge/NN dominates/VBZ the/DT image/NN ,/, its/PRP$ arches/NNS in/IN the/DT water/NN"
    assert left(text) == "the bridge , its arches in the water"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "the/DT sky/NN is/VBZ gray/JJ ,/, with/IN no/DT birds/NNS ,/, and/CC a/DT hill/NN rises/VBZ",
            "the sky is gray",
        ),
        ("a/DT man/NN without/IN a/DT hat/NN runs/VBZ", ""),
        ("there/EX are/VBP no/DT dogs/NNS ,/, cats/NNS or/CC birds/NNS", ""),
        ("a/DT man/NN holds/VBZ a/DT ball/NN that/WDT is/VBZ not/RB round/JJ", "a man holds a ball"),
        ("a/DT man/NN holds/VBZ a/DT ball/NN", "a man holds a ball"),
    ],
)
def test_what_is_stated_before_a_negation(text: str, expected: str) -> None:
    tokens = [Token(*word.rsplit("/", 1), 0, 0) for word in text.split()]
    assert " ".join(token.text for token in affirmed(tokens)) == expected
