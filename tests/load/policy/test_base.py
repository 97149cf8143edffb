"""How sentences are joined into texts."""

from __future__ import annotations

import pytest
from few_words import caption, record, sub
from hypothesis import example, given
from hypothesis import strategies as st

from recaption.load.policy.base import ends, joined, joined_without_stop, sentences, without_full_stop
from recaption.text import fold
from recaption.write.profile import sentences as profile_sentences


@pytest.mark.parametrize(
    ("texts", "as_stored", "as_released"),
    [
        (["A dog."], "A dog.", "A dog"),
        (["A dog"], "A dog", "A dog"),
        (["A dog.", "A cat."], "A dog. A cat.", "A dog. A cat"),
        (["A dog", "a cat"], "A dog. a cat", "A dog. a cat"),
        (["A dog.", "a cat"], "A dog. a cat", "A dog. a cat"),
        (["A dog!", "a cat"], "A dog! a cat", "A dog!. a cat"),
        (["It says “STOP!”", "Two\ndogs."], "It says “STOP!” Two\ndogs.", "It says “STOP!”. Two dogs"),
        (["Cats...", "Dogs"], "Cats... Dogs", "Cats. Dogs"),
        (["狗。", "猫"], "狗。 猫", "狗。. 猫"),
    ],
)
def test_sentences_are_joined_as_stored_or_as_released(texts: list[str], as_stored: str, as_released: str) -> None:
    pool = sentences(record(caption("long", *texts)), [0])
    assert (joined(pool).text, joined_without_stop(pool).text) == (as_stored, as_released)
    assert joined(pool).parts == joined_without_stop(pool).parts == tuple((0, n) for n in range(len(texts)))


def test_a_text_weighs_what_its_weakest_part_does() -> None:
    pool = sentences(record(caption("long", sub("a.", weight=0.7), sub("b.", 1, weight=0.2), sub("c.", 2))), [0])
    assert joined(pool).weight == 0.2


words = st.text(st.sampled_from("ab .\n\t\u00a0\u3002\U0001f600<'\"?!"), max_size=8)


@given(words)
@example("<. ")  # a space after the stop
def test_bare_sentences_are_those_of_the_flair_profile(text: str) -> None:
    assert [without_full_stop(text)] == (profile_sentences([text]) or [fold(text)])


@pytest.mark.parametrize("text", ["So.", "So!", "so?”", "so.)", "そう。", "so:"])
def test_ends_are_seen(text: str) -> None:
    assert ends(text)
    assert not ends(text[:2].rstrip(".。") + " ")
