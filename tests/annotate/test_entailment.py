"""What a sentence states, and whether an earlier one states it."""

from __future__ import annotations

import pytest

from recaption.annotate.entailment import Statement, core, is_implied
from recaption.annotate.reduced import reduced
from recaption.annotate.stems import stem
from recaption.annotate.tagged_words import Token


def statement(text: str) -> Statement:
    """Of words with their tags: "a/DT dog/NN"."""
    return Statement(tokens(text))


def tokens(text: str) -> list[Token]:
    return [Token(*word.rsplit("/", 1), 0, 0) for word in text.split()]


def test_a_word_is_implied_by_a_narrower_one_only() -> None:
    person, man = (statement(f"a/DT {noun}/NN rides/VBZ") for noun in ("person", "man"))
    assert person.is_entailed_by(man)
    assert not man.is_entailed_by(person)


def test_a_noun_before_a_noun_is_no_thing_of_its_own() -> None:
    stop, bus = statement("a/DT bus/NN stop/NN stands/VBZ"), statement("a/DT bus/NN stands/VBZ")
    assert not bus.is_entailed_by(stop)
    laptop = statement("a/DT laptop/NN stands/VBZ")
    assert laptop.is_entailed_by(statement("a/DT laptop/NN computer/NN stands/VBZ"))


def test_a_plural_is_implied_by_several_things() -> None:
    vehicles = statement("vehicles/NNS wait/VBP")
    assert vehicles.is_entailed_by(statement("a/DT car/NN and/CC a/DT truck/NN wait/VBP"))
    assert not vehicles.is_entailed_by(statement("a/DT car/NN waits/VBZ"))


def test_only_the_pose_of_what_is_alive_is_stated() -> None:
    assert statement("a/DT cup/NN sitting/VBG on/IN a/DT shelf/NN").stems == {"cup", "shelf"}
    assert statement("a/DT cat/NN sitting/VBG on/IN a/DT shelf/NN").stems == {"cat", "sit", "shelf"}


def test_a_person_may_be_called_by_what_the_person_does() -> None:
    surfer = statement("a/DT surfer/NN jumps/VBZ")
    assert surfer.is_entailed_by(statement("a/DT man/NN on/IN a/DT surfboard/NN jumps/VBZ"))
    assert not surfer.is_entailed_by(statement("a/DT man/NN on/IN a/DT horse/NN jumps/VBZ"))
    assert not surfer.is_entailed_by(statement("a/DT dog/NN on/IN a/DT surfboard/NN jumps/VBZ"))


@pytest.mark.parametrize(("word", "other"), [("red/JJ", "crimson/JJ"), ("two/CD", "three/CD"), ("left/JJ", "right/JJ")])
def test_what_distinguishes_is_not_implied(word: str, other: str) -> None:
    assert not statement(f"{word} birds/NNS sit/VBP").is_entailed_by(statement(f"{other} birds/NNS sit/VBP"))


def test_places_belong_to_things() -> None:
    left = statement("the/DT cat/NN is/VBZ on/IN the/DT left/JJ side/NN")
    other = statement("the/DT dog/NN is/VBZ on/IN the/DT left/JJ side/NN ,/, and/CC the/DT cat/NN sleeps/VBZ")
    assert not left.is_entailed_by(other)


def test_what_is_behind_or_under_a_thing_is_known_from_what_the_thing_is_on() -> None:
    wall = statement("the/DT wall/NN behind/IN the/DT sign/NN is/VBZ gray/JJ")
    assert wall.is_entailed_by(statement("a/DT sign/NN hanging/VBG on/IN a/DT gray/JJ wall/NN"))
    assert not wall.is_entailed_by(statement("a/DT sign/NN and/CC a/DT gray/JJ wall/NN"))
    assert not wall.is_entailed_by(statement("a/DT gray/JJ wall/NN on/IN a/DT sign/NN"))


def test_what_follows_a_backdrop_is_in_the_background() -> None:
    leaves = Statement(reduced(tokens("the/DT background/NN is/VBZ a/DT blur/NN of/IN green/JJ leaves/NNS")))
    known = "a/DT red/JJ rose/NN against/IN a/DT blurred/JJ backdrop/NN of/IN verdant/JJ foliage/NN"
    assert leaves.is_entailed_by(Statement(reduced(tokens(known))))
    rose = Statement(reduced(tokens("a/DT rose/NN is/VBZ in/IN the/DT background/NN")))
    assert not rose.is_entailed_by(Statement(reduced(tokens(known))))


def test_an_adjective_states_a_thing_only_of_what_it_is_said_of() -> None:
    stairs = statement("the/DT stairs/NNS covered/VBN in/IN snow/NN")
    assert stairs.is_entailed_by(statement("the/DT snowy/JJ stairs/NNS covered/VBN"))
    assert not stairs.is_entailed_by(statement("a/DT snowy/JJ street/NN with/IN covered/VBN stairs/NNS"))


def test_the_core_has_no_words_without_weight() -> None:
    assert core(tokens("the/DT dog/NN runs/VBZ in/IN several/JJ")) == {"dog", "run"}


def test_an_adjective_in_another_word_is_said_of_the_same_thing() -> None:
    wet = statement("the/DT dogs/NNS are/VBP wet/JJ")
    assert wet.agrees_with(statement("rainy/JJ dogs/NNS on/IN a/DT street/NN"))
    assert not wet.agrees_with(statement("a/DT rainy/JJ day/NN"))


def test_a_colour_is_said_of_the_same_thing() -> None:
    shoes = statement("his/PRP$ shoes/NNS are/VBP black/JJ")
    assert shoes.agrees_with(statement("a/DT man/NN in/IN black/JJ shoes/NNS"))
    assert shoes.agrees_with(statement("the/DT black/JJ ones/NNS are/VBP shoes/NNS"))
    assert not shoes.agrees_with(statement("black/JJ trousers/NNS ,/, and/CC white/JJ shoes/NNS"))


def test_light_is_no_thing() -> None:
    assert statement("this/DT sparse/JJ use/NN of/IN light/NN").is_of_light
    assert not statement("a/DT light/NN on/IN a/DT pole/NN").is_of_light


def test_a_first_clause_without_a_thing_does_not_count() -> None:
    assert statement("the/DT mood/NN is/VBZ calm/JJ and/CC quiet/JJ ,/, with/IN the/DT boats/NNS").n_stated == 1
    assert statement("a/DT harbour/NN is/VBZ calm/JJ ,/, with/IN the/DT boats/NNS").n_stated == 3


def test_related_nouns() -> None:
    assert is_implied(stem("person"), stem("woman"))
    assert is_implied(stem("vehicle"), stem("car"))
    assert not is_implied(stem("car"), stem("vehicle"))
    assert not is_implied(stem("dog"), stem("cat"))
