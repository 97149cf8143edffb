"""recaption.tasks.rule_changes: false sentences from the tags of a sub-caption."""

from __future__ import annotations

import pytest
from tagged_subs import sub, thing

from recaption.tasks.changes import CATEGORIES, Category, difference
from recaption.tasks.rule_changes import rule_changes
from recaption.types import SubCaption, Tag


def made(given: SubCaption, category: Category, known: frozenset[str] = frozenset(), most: int = 50) -> set[str]:
    found = rule_changes(given, known, (category,), most)
    assert all(change.category == category for change in found)
    return {change.text for change in found}


KITE = sub(
    "A red kite flies over two dogs.", thing("red kite", "red"), thing("dogs", lemma="dog", count=2, plural=True)
)


def test_attributes() -> None:
    found = made(KITE, "attribute")
    assert {"A blue kite flies over two dogs.", "An orange kite flies over two dogs."} <= found
    assert made(KITE, "attribute", frozenset({"blue", "orange"})) < found  # what may be there is left out
    assert made(sub("The car is small.", thing("car", "small")), "attribute") == {"The car is large."}


@pytest.mark.parametrize(
    "given",
    [
        sub("An orange lies here.", thing("orange")),  # the fruit
        sub("A reddish kite and a redhead.", thing("kite", "reddish"), thing("redhead")),  # no part of a word
        sub("A red-hot kite.", thing("red-hot kite", "red-hot")),
        sub("A tasty cake.", thing("tasty cake", "tasty")),
        sub("Black smoke.", Tag(lemma="smoke", text="smoke", char_start=0, char_end=0, kind="abstract")),
    ],
)
def test_other_words_are_no_attributes(given: SubCaption) -> None:
    assert made(given, "attribute") == set()


def test_objects_keep_their_number_and_are_not_others_of_the_image() -> None:
    found = made(KITE, "object")
    assert {"A red frisbee flies over two dogs.", "A red kite flies over two cats."} <= found
    assert not [text for text in made(KITE, "object", frozenset({"cats"})) if "cats" in text]
    assert made(sub("A fire hydrant.", thing("fire hydrant", lemma="fire hydrant")), "object") == set()
    assert made(sub("A carpet.", thing("carpet")), "object") == set()
    assert made(sub("A bed of flowers.", thing("bed")), "object") == set()
    assert made(sub("The dog's tail.", thing("dog")), "object") == set()


def test_numbers_are_those_of_objects() -> None:
    found = made(KITE, "number")
    assert "A red kite flies over three dogs." in found and len(found) == 8
    assert not {text for text in found if "two" in text}
    one = sub("A dog and 2 cats at ten.", thing("dog"), thing("cats", lemma="cat", count=2, plural=True))
    assert made(one, "number") == {f"A dog and {n} cats at ten." for n in range(3, 11)}


def test_places() -> None:
    assert made(sub("A dog on the left.", thing("dog")), "place") == {"A dog on the right."}
    assert made(sub("A dog in the foreground.", thing("dog")), "place") == {"A dog in the background."}
    for text in ("A dog left home.", "A dog right next to it.", "A dog in a top hat."):
        assert made(sub(text, thing("dog")), "place") == set()


def test_relations_stand_before_an_object() -> None:
    table = thing("table")
    assert made(sub("A dog on a table.", thing("dog"), table), "relation") == {"A dog under a table."}
    assert made(sub("A dog in front of the table.", thing("dog"), table), "relation") == {"A dog behind the table."}
    assert made(sub("A dog on the left of it.", thing("dog")), "relation") == set()
    assert made(sub("A dog on a sunny day near nothing", thing("dog")), "relation") == set()
    assert made(sub("A dog on", thing("dog")), "relation") == set()


def test_actions() -> None:
    assert "A dog is running." in made(sub("A dog is sitting.", thing("dog")), "action")
    assert "A dog runs." in made(sub("A dog sits.", thing("dog")), "action")
    assert made(sub("Food stands line the road.", thing("road")), "action") == set()
    assert made(sub("A walking stick.", thing("walking stick")), "action") == set()
    assert made(sub("A road runs along a river.", thing("road"), thing("river")), "action") == set()


def test_changes_come_in_turn_and_each_is_one_change() -> None:
    found = rule_changes(KITE, frozenset(), CATEGORIES, 10)
    assert len({change.text for change in found}) == len(found) == 10
    assert [change.category for change in found[:5]] == ["attribute", "object", "number", "relation", "action"]
    for change in found:
        again = difference(KITE.text, change.text, change.category)
        assert (again.start, again.end, again.replaced) == (change.start, change.end, change.replaced)
    assert found == rule_changes(KITE, frozenset(), CATEGORIES, 10)
    assert found[:3] == rule_changes(KITE, frozenset(), CATEGORIES, 3)


def test_a_sentence_without_objects_has_only_changes_of_words() -> None:
    assert rule_changes(sub("It is quiet."), frozenset(), CATEGORIES, 10) == []
    assert rule_changes(sub(""), frozenset(), CATEGORIES, 10) == []


RED = thing("red car", "red")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (sub("A hundred red cars near a redwood.", thing("red cars", "red", lemma="car", plural=True)), "A hundred"),
        (sub("A red-haired man and a red car.", thing("man"), RED), "red-haired"),
        (sub("A man with a redder-than-red car.", thing("man"), thing("car", "red")), "redder-than-red"),
        (sub('The sign "two red cars on a dog" hangs above a red car.', thing("sign"), RED), '"two red cars on a dog"'),
        (sub("The word \u201cleft\u201d is under a red car.", thing("word"), RED), "\u201cleft\u201d"),
        (sub("A red car's wheel.", RED, thing("wheel")), "car's"),
        (sub("The dog\u2019s bowl and a dog.", thing("bowl"), thing("dog")), "dog\u2019s"),
        (sub("A hot dog and a cat.", thing("hot dog", lemma="hot dog"), thing("cat")), "hot dog"),
        (sub("A dog sits beside a hot dog.", thing("dog"), thing("hot dog", lemma="hot dog")), "hot dog"),
    ],
)
def test_words_in_other_words_in_quotes_and_in_names_stay(given: SubCaption, kept: str) -> None:
    found = {text for category in CATEGORIES for text in made(given, category)}
    assert found and all(kept.casefold() in text.casefold() for text in found)
    assert given.text not in found


def test_attributes_of_what_is_absent_stay() -> None:
    absent = Tag(lemma="bus", text="red bus", char_start=0, char_end=0, attributes=("red",), kind="absent")
    assert made(sub("A red car and no red bus.", RED, absent), "attribute") >= {"A blue car and no red bus."}
    assert not [text for text in made(sub("A red car and no red bus.", RED, absent), "attribute") if "red car" in text]
