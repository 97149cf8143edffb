"""recaption.tasks.swaps: two objects change places, or their attributes do."""

from __future__ import annotations

from tagged_subs import sub, thing

from recaption.tasks.swaps import swaps
from recaption.tasks.tagged_sentence import TaggedSentence
from recaption.types import SubCaption

KITE = sub("A kite flies over two dogs.", thing("kite"), thing("dogs", lemma="dog", count=2, plural=True))


def swapped(given: SubCaption) -> set[str]:
    found = list(swaps(TaggedSentence(given), frozenset()))
    assert all(change.category == "swap" for change in found)
    return {change.text for change in found}


def test_swaps_keep_all_words() -> None:
    chase = sub("The dog chases an angry owl.", thing("dog"), thing("angry owl"))
    assert swapped(chase) == {"The owl chases an angry dog."}
    cars = sub("A red car and an orange bus.", thing("red car", "red"), thing("orange bus", "orange"))
    assert swapped(cars) == {"An orange car and a red bus."}
    assert swapped(sub("A dog and a cat.", thing("dog"), thing("cat"))) == set()
    assert swapped(KITE) == set()  # one kite, two dogs
    for text in (
        "The dog, near the end, sees a cat.",
        "The dog at the far end of it sees a cat.",
        "A dog's eye meets a cat.",
    ):
        assert swapped(sub(text, thing("dog"), thing("cat"))) == set()


def test_the_whole_name_changes_places_and_equal_words_do_not() -> None:
    sign = sub("A dog chases a red traffic cone.", thing("dog"), thing("red traffic cone", lemma="traffic cone"))
    assert swapped(sign) == {"A traffic cone chases a red dog."}
