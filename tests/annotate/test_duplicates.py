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
