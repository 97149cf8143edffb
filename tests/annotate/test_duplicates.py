"""Which sentences of an image repeat earlier ones."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from recaption.annotate import Annotator
from recaption.types import Caption, SubCaption

Subs = Callable[..., tuple[SubCaption, ...]]
Make = Callable[..., Caption]


def test_a_sentence_repeats_one_of_another_caption_of_the_image(subs: Subs) -> None:
    first, other, again = subs("The red dog sits on the mat. A cat lies.", "the red dog, sits on a mat!")
    assert (first.dup_of, other.dup_of) == (None, None)
    assert again.dup_of == first.sub_id
    assert again.weight == 0


def test_sentences_with_other_places_are_no_duplicates(subs: Subs) -> None:
    done = subs(
        "The dog is to the left of the cat. The dog is to the right of the cat. The cat is to the left of the dog."
    )
    assert [s.dup_of for s in done] == [None, None, None]


def test_a_nearly_equal_sentence_is_a_duplicate(subs: Subs) -> None:
    text = "A tall man in a dark blue coat walks two small white dogs along the narrow muddy path beside the river"
    a, b = subs(f"{text}. {text} slowly.")
    assert b.dup_of == a.sub_id


def test_a_sentence_of_another_image_is_no_duplicate(annotator: Annotator, make: Make) -> None:
    images = annotator.annotate([[make("A dog sits.")], [make("A dog sits.")]])
    assert images[1][0].sub_captions[0].dup_of is None


SWAPPED = {
    "colours": "A red car and a blue truck stand here. A blue car and a red truck stand here.",
    "counts": "Two dogs and three cats run. Three dogs and two cats run.",
    "attributes": "The red dog chases the black cat. The black dog chases the red cat.",
    "who does it": "The dog bites the man. The man bites the dog.",
}


@pytest.mark.parametrize("what", SWAPPED)
def test_the_same_words_about_other_objects_are_no_duplicate(subs: Subs, what: str) -> None:
    assert [sub.dup_of for sub in subs(SWAPPED[what])] == [None, None]


SET_APART = {
    "another colour": "Next to her, a man in a green robe stands, his hands clasped together in front of him. "
    "Next to her, a man in a brown robe stands, his hands clasped together in front of him.",
    "a compound colour of another thing": "The white houses have dark-colored doors on the roofs and dark-colored "
    "chimneys. The houses are white with dark-colored roofs.",
    "another person": "He wears a black shirt with a white collar. She wears a black shirt with a white collar.",
    "third": "The second musician, on the right, is dressed in a brown shirt and black pants. "
    "The third musician, on the right, is dressed in a brown shirt and black pants.",
    "another": "A man in a blue coat stands at the door. Another man in a blue coat stands at the door.",
    "left and right": "His right hand rests on the keys, while his left hand rests on the pedals. "
    "His left hand rests on the keys, while his right hand rests on the pedals.",
    "colours in turn": "It is bright yellow with a few pink flowers behind it. "
    "It is bright pink with a few yellow flowers behind it.",
    "a quotation": 'The word "Swedish" is written on the side. The word "Airlines" is written on the side.',
    "also, of someone else": "His arms are bent at the elbows. A boy sits there. His arms are also bent at the elbows.",
    "a pronoun for someone else": "A man stands at the gate. He has short gray hair. "
    "A woman walks by with a boy. He has short gray hair.",
    "another posture": "Two goats standing in a stony field. Two goats grazing in a stony field.",
    "another number": "There is a white cup on the tray. There are two white cups on the tray.",
    "another number in digits": "At least 14 boats lie in the harbour. At least 13 boats lie in the harbour.",
    "one and several": "A rider waits at the old gate. Several riders wait at the old gate.",
    "they and he": "They are wearing white uniforms. He is wearing a white uniform.",
    "people and horses": "Two people are pulling a cart. Two horses are pulling a cart.",
    "another look": "He faces the window with a serious expression. He faces the window with a puzzled expression.",
    "further ones": "A bicycle leans against the wall. An additional bicycle leans against the wall.",
    "a quotation in capitals": "Below is the word EXIT in tall letters. Below is the word ENTER in tall letters.",
    "a quotation in single quotes": "The text 'STOP' is on the board. The text 'GO' is on the board.",
    "another that was counted": "There are many lamps, with another one further down the street. "
    "Another lamp stands further down the street.",
    "central": "The figure on the left has a round face. The central figure has a round face.",
}


@pytest.mark.parametrize("what", SET_APART)
def test_what_sets_things_apart_makes_another_sentence(subs: Subs, what: str) -> None:
    assert {sub.dup_of for sub in subs(SET_APART[what])} == {None}


def test_a_repeated_pair_of_sentences_is_repeated_as_a_whole(subs: Subs) -> None:
    text = "A man in a red coat stands at the gate. He has short gray hair. "
    assert [sub.dup_of for sub in subs(text + text)] == [None, None, "k/long/0#0", "k/long/0#1"]


def test_colours_of_one_thing_may_change_places(subs: Subs) -> None:
    a, b = subs(
        "The lighthouse at the end of the pier is red and white.", "The lighthouse at the pier's end is white and red."
    )
    assert b.dup_of == a.sub_id
