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


def test_quoted_words_are_left_out_and_a_name_has_the_words_of_the_lemma() -> None:
    light = thing("red traffic light", "red", lemma="traffic light")
    sentence = TaggedSentence(sub("A red traffic light above \u201ca dog\u201d.", light))
    assert [word for _, word in sentence.words] == ["a", "red", "traffic", "light", "above"]
    assert sentence.text[slice(*(sentence.name(sentence.objects[0]) or ()))] == "traffic light"
    owner = TaggedSentence(sub("The dog's bowl.", DOG))
    assert owner.name(owner.objects[0]) is None
