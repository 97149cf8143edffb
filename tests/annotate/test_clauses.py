"""The words that state something, by clause."""

from __future__ import annotations

import pytest

from recaption.annotate.clauses import Word, clauses_of, is_person
from recaption.annotate.spacy_tagger import Tagger
from recaption.annotate.stems import stem


@pytest.fixture(scope="module")
def tagger() -> Tagger:
    return Tagger(None)


def _words(tagger: Tagger, text: str) -> list[list[Word]]:
    (tokens,) = tagger.tokens([text])
    assert isinstance(tokens, list)
    return [clause for clause in clauses_of(tokens) if clause]


def test_words_that_add_nothing_are_left_out(tagger: Tagger) -> None:
    (clause,) = _words(tagger, "Various lovely ducks are visible")
    assert [word.stem for word in clause if word.part == "noun"] == [stem("duck")]
    assert stem("lovely") not in {word.stem for word in clause}


def test_a_noun_has_the_preposition_before_it(tagger: Tagger) -> None:
    (clause,) = _words(tagger, "A cup stands on a shelf")
    assert {word.stem: word.preposition for word in clause if word.part == "noun"} == {"cup": "", "shelf": "on"}


def test_a_noun_before_a_noun_is_a_modifier(tagger: Tagger) -> None:
    (clause,) = _words(tagger, "A clock tower")
    assert [(word.stem, word.part) for word in clause] == [("clock", "modifier"), ("tower", "noun")]


@pytest.mark.parametrize(("subject", "part"), [("vase", "weak"), ("dog", "verb")])
def test_how_a_thing_that_is_not_alive_stands_is_weak(tagger: Tagger, subject: str, part: str) -> None:
    (clause,) = _words(tagger, f"A {subject} sitting on a table")
    assert next(word.part for word in clause if word.stem == stem("sitting")) == part


def test_a_comma_with_and_begins_a_clause(tagger: Tagger) -> None:
    first, second = _words(tagger, "A cat sleeps, and a dog barks")
    assert "cat" in {word.stem for word in first} and "dog" in {word.stem for word in second}


def test_persons() -> None:
    assert is_person(stem("woman")) and is_person(stem("surfer"))
    assert not is_person(stem("dog")) and not is_person(stem("table"))
