"""recaption.tasks.tagged_sentence: the places of words and objects in a sub-caption."""

from __future__ import annotations

from tagged_subs import sub, thing

from recaption.tasks.tagged_sentence import TaggedSentence

KITE, DOG = thing("red kite", "red"), thing("dog")


def test_words_and_objects_have_their_places() -> None:
    sentence = TaggedSentence(sub("A red kite and the dog\u2019s off-white tail.", KITE, DOG))
    assert [word for _, word in sentence.words] == ["a", "red", "kite", "and", "the", "dog\u2019s", "off-white", "tail"]
    kite, dog = sentence.objects
    assert (sentence.span(kite), sentence.inside(kite), sentence.head(kite)) == ((2, 10), [(2, 5), (6, 10)], (6, 10))
    assert sentence.head(dog) is None  # the word goes on
    assert sentence.word((6, 10)) == "kite" and sentence.in_objects == {(2, 5), (6, 10)}
