"""Tags that cannot be right are replaced."""

from __future__ import annotations

import pytest

from recaption.annotate.corrected_tags import corrected
from recaption.annotate.tagged_words import Token


def _tokens(tagged: str, lemma: str = "") -> list[Token]:
    tokens, at = [], 0
    for pair in tagged.split():
        word, tag = pair.rsplit("/", 1)
        tokens.append(Token(word, tag, at, at + len(word), lemma))
        at += len(word) + 1
    return tokens


@pytest.mark.parametrize(
    ("tagged", "expected"),
    [
        ("an/DT intricate/NN carving/NN", "DT JJ NN"),  # an adjective that is never a noun
        ("sharply/NN in/IN focus/NN", "RB IN NN"),
        ("a/DT family/NN", "DT NN"),  # a noun in -ly
        ("they/PRP vary/NN in/IN size/NN", "PRP VBP IN NN"),  # a verb that is nothing else
        ("it/PRP extends/NNS", "PRP VBZ"),
        ("the/DT shelves/NNS", "DT NNS"),  # of "shelf", not of the verb "to shelve"
        ("two/CD walkways/RB", "CD NNS"),
        ("a/DT chalet/JJ", "DT NN"),
        ("a/DT roller/JJ coaster/NN", "DT NN NN"),
        ("a/DT sharper/JJ edge/NN", "DT JJ NN"),  # a comparative
        ("a/DT plaid/JJ shirt/NN", "DT JJ NN"),  # a look, before a noun
        ("a/DT graphic/JJ on/IN it/PRP", "DT NN IN PRP"),
        ("a/DT graphic/JJ novel/NN", "DT JJ NN"),
        ("the/DT blue/JJ on/IN it/PRP", "DT JJ IN PRP"),  # colours stay adjectives
        ("a/DT young/JJ adult/JJ waits/NNS", "DT JJ NN NNS"),
        ("a/DT moped/VBN is/VBZ parked/VBN", "DT NN VBZ VBN"),
        ("a/DT fire/NN extinguisher/DT", "DT NN NN"),
        ("three/CD golden/JJ pancakes/VBZ", "CD JJ NNS"),
        ("her/PRP$ watch/VB", "PRP$ NN"),
        ("pancakes/VBZ with/IN syrup/NN", "NNS IN NN"),
        ("look/VB at/IN it/PRP", "VB IN PRP"),
        ("both/CC hands/NNS", "DT NNS"),
        ("a/DT high-angle/NN ,/, wide/JJ shot/NN", "DT JJ , JJ NN"),
        ("light/NN blue/JJ sky/NN", "JJ JJ NN"),
        ("a/DT close/JJ soccer/NN match/VBP ./.", "DT JJ NN NN ."),
        ("the/DT dog/NN and/CC the/DT horse/NN race/VBP ./.", "DT NN CC DT NN VBP ."),
        ("a/DT social/JJ gathering/VBG ./.", "DT JJ NN ."),
        ("people/NNS gathering/VBG outside/RB", "NNS VBG RB"),
    ],
)
def test_tags_that_cannot_be_right_are_replaced(tagged: str, expected: str) -> None:
    assert [token.tag for token in corrected(_tokens(tagged))] == expected.split()


def test_tokens_of_a_pipeline_with_a_lemmatizer_are_left_alone() -> None:
    tokens = _tokens("die/DT intricate/NN", lemma="x")
    assert corrected(tokens) == tokens


def test_no_tokens() -> None:
    assert corrected([]) == []
