"""Whole captions of a kind, the mix of raw and generated ones, and sheared captions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from few_words import DRAWS, assert_drawn_as, bag, caption, record, sub

from recaption.errors import UserError
from recaption.load import policy
from recaption.types import Record

RAW, SHORT, LONG = caption("raw", "alt"), caption("short", "s."), caption("long", "l.", "m.")


def texts(draw: policy.Policy, of: Record, times: int = 1) -> list[list[str]]:
    rng = np.random.default_rng(0)
    return [[one.text for one in draw(of, rng, 0)] for _ in range(times)]


@pytest.mark.parametrize(
    ("make", "captions", "text"),
    [
        (policy.long, (RAW, SHORT, LONG), "l. m."),
        (policy.long, (RAW, SHORT), "s."),
        (policy.long, (RAW,), "alt"),
        (policy.short, (RAW, SHORT, LONG), "s."),
        (policy.short, (RAW, LONG), "alt"),
        (policy.short, (LONG,), "l. m."),
        (policy.raw, (RAW, SHORT, LONG), "alt"),
        (policy.raw, (SHORT, LONG), "s."),
        (policy.raw, (LONG,), "l. m."),
    ],
)
def test_a_kind_or_the_next_best(make: Callable[[int], policy.Policy], captions: tuple[Any, ...], text: str) -> None:
    assert texts(make(3), record(*captions)) == [[text] * 3]


@pytest.mark.parametrize(("make", "of"), [(policy.short, ("b.", "c.")), (policy.raw, ("a.", "z."))])
def test_captions_of_a_kind_are_drawn_equally(make: Callable[[int], policy.Policy], of: tuple[str, str]) -> None:
    sample = record(*bag().captions, caption("raw", "z.", generation="raw2"))
    counts = Counter(text for (text,) in texts(make(1), sample, DRAWS))
    assert_drawn_as(counts, dict.fromkeys(of, 0.5))


def test_captions_of_a_kind_repeat_only_when_all_were_drawn() -> None:
    counts = Counter(map(tuple, texts(policy.long(2), bag(), DRAWS // 2)))
    assert_drawn_as(counts, {("d. e. f.", "g. h. i."): 0.5, ("g. h. i.", "d. e. f."): 0.5})
    assert texts(policy.long(4), bag()) == [["d. e. f.", "g. h. i."] * 2]


def test_recap_mix_draws_raw_with_p_else_a_generated_caption() -> None:
    counts = Counter(text for chosen in texts(policy.recap_mix(0.3, 4), bag(), DRAWS // 4) for text in chosen)
    assert_drawn_as(counts, {"a.": 0.3, **dict.fromkeys(["b.", "c.", "d. e. f.", "g. h. i."], 0.7 / 4)})


@pytest.mark.parametrize("p", [0.0, 0.5, 1.0])
def test_recap_mix_of_one_of_the_two_gives_that_one(p: float) -> None:
    assert texts(policy.recap_mix(p, 3), record(RAW)) == [["alt"] * 3]
    assert texts(policy.recap_mix(p, 3), record(LONG)) == [["l. m."] * 3]


def test_shear_cuts_as_mllms_augmented_does() -> None:
    of = record(caption("raw", "r one. r two."), caption("long", "a b c.", "d."), caption("short", "e f."))
    theirs = ["r one. r two.", *(one.text.split(".")[0] for one in of.captions[1:])]  # their raw captions stay whole
    counts = Counter(text for (text,) in texts(policy.shear(), of, DRAWS))
    assert_drawn_as(counts, {text: 1 / 3 for text in theirs})


def test_shear_keeps_a_full_stop_inside_a_sentence_and_cuts_long_ones_at_words() -> None:
    of = record(caption("long", "A 3.5 m  wall. ", "More."))
    assert texts(policy.shear(), of) == [["A 3.5 m wall"]]
    assert texts(policy.shear(max_words=2), of) == [["A 3.5"]]
    (drawn,) = policy.shear(max_words=2)(of, np.random.default_rng(0), 0)
    assert drawn.parts == ((0, 0),)


def test_shear_of_a_caption_that_is_not_cut_is_the_caption() -> None:
    assert texts(policy.shear(), record(caption("long", "a.", "b.", cut=False))) == [["a. b"]]
    assert texts(policy.shear(max_words=1), record(caption("long", sub("... x")))) == [["..."]]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: policy.long(0), "k is 0"),
        (lambda: policy.recap_mix(1.1), "p is 1.1"),
        (lambda: policy.recap_mix(0.5, 0), "k is 0"),
        (lambda: policy.shear(0), "max_words is 0"),
        (lambda: policy.cosmos(1), "k is 1; it must be at least 2"),
        (lambda: policy.flair(max_merge=0), "max_merge is 0"),
        (lambda: policy.dreamlip(-1), "num_text is -1"),
        (lambda: policy.lotlip(merged_num=0), "merged_num is 0"),
    ],
)
def test_wrong_settings_are_refused(make: Callable[[], policy.Policy], said: str) -> None:
    with pytest.raises(UserError, match=said):
        make()
