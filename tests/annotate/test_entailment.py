"""What a sentence states, and whether an earlier one states it."""

from __future__ import annotations

import pytest

from recaption.annotate.entailment import Statement, core, is_implied
from recaption.annotate.stems import stem
from recaption.annotate.tagged_words import Token


def statement(text: str) -> Statement:
    """Of words with their tags: "a/DT dog/NN"."""
    pairs = [word.rsplit("/", 1) for word in text.split()]
    return Statement([Token(word, tag, 0, 0) for word, tag in pairs])


def test_guesses_and_effects_state_nothing() -> None:
    tags = (
        "the/DT boy/NN stands/VBZ ,/, possibly/RB waiting/VBG for/IN a/DT bus/NN ,/, while/IN the/DT girl/NN reads/VBZ"
    )
    assert statement(tags).stems == {"boy", "stand", "girl", "read"}
    assert statement("a/DT dog/NN runs/VBZ ,/, creating/VBG a/DT lively/JJ scene/NN").stems == {"dog", "run"}


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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("the dog runs in the grass", {"dog", "run", "grass"}),
        ("the dog runs possibly chasing a ball", {"dog", "run"}),
        ("possibly an old dog", {"old", "dog"}),
        ("the old boats create a lively scene", {"old", "boat"}),
        ("the old man adds milk", {"old", "man", "add", "milk"}),
    ],
)
def test_the_core_ends_where_a_guess_begins(words: str, expected: set[str]) -> None:
    found = words.split()
    stems = tuple(stem(word) for word in found if word not in ("the", "in", "a", "an"))
    assert core(found, stems) == expected


def test_related_nouns() -> None:
    assert is_implied(stem("person"), stem("woman"))
    assert is_implied(stem("vehicle"), stem("car"))
    assert not is_implied(stem("car"), stem("vehicle"))
    assert not is_implied(stem("dog"), stem("cat"))
