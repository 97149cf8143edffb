"""`weighted`: by weight, no text twice, nothing bad where there is better, raw in its share."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from few_words import DRAWS, assert_drawn_as, bag, caption, record, sub

from recaption.errors import UserError
from recaption.load import policy
from recaption.types import Record

WEIGHTS = {"a": 1.0, "b": 0.5, "c": 0.25, "d": 1.0, "e": 0.4}


def two_captions() -> Record:
    made = {letter: sub(f"{letter}.", n % 3, weight=w) for n, (letter, w) in enumerate(WEIGHTS.items())}
    return record(caption("long", *(made[x] for x in "abc")), caption("short", *(made[x] for x in "de")))


def texts(draw: policy.Policy, of: Record, times: int, seed: int = 0) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[one.text for one in draw(of, rng, 0)] for _ in range(times)]


def shares() -> dict[str, float]:
    """Of each text of `two_captions` on the first draw: a length, then a window by its weakest sentence."""
    rows = ({x: WEIGHTS[x] for x in "abcde"}, {"a. b": 0.5, "b. c": 0.25, "d. e": 0.4}, {"a. b. c": 0.25})
    return {f"{text}.": w / sum(row.values()) / len(rows) for row in rows for text, w in row.items()}


def test_texts_are_drawn_by_weight_without_replacement() -> None:
    share = shares()
    pairs = {(one, two): share[one] * share[two] / (1 - share[one]) for one, two in permutations(share, 2)}
    counts = Counter(map(tuple, texts(policy.weighted(2, 3), two_captions(), DRAWS // 2)))
    assert_drawn_as(counts, pairs)


def test_sources_are_scaled() -> None:
    counts = Counter(
        text for (text,) in texts(policy.weighted(1, 1, weights={"model:long": 0.5}), two_captions(), DRAWS // 5)
    )
    total = 0.5 * 1.75 + 1.4
    halved = {f"{x}.": w * (0.5 if x in "abc" else 1) / total for x, w in WEIGHTS.items()}
    assert_drawn_as(counts, halved)


@pytest.mark.parametrize(("k", "p_raw"), [(8, 0.1), (8, 0.05), (1, 0.3), (3, 0.5), (8, 0.0), (4, 1.0)])
def test_raw_has_its_share_at_every_place(k: int, p_raw: float) -> None:
    drawn = texts(policy.weighted(k, p_raw=p_raw), bag(), DRAWS // 8)
    for place in range(k):
        counts = Counter("raw" if chosen[place] == "a." else "other" for chosen in drawn)
        assert_drawn_as(counts, {"raw": p_raw, "other": 1 - p_raw})
    numbers = {chosen.count("a.") for chosen in drawn}
    assert numbers == {int(k * p_raw), int(-(-k * p_raw // 1))}


def test_no_text_comes_twice_while_there_are_others() -> None:
    for chosen in texts(policy.weighted(8), bag(), 200):
        assert len(set(chosen)) == 8


def test_windows_stay_in_one_caption_and_skip_nothing() -> None:
    cut = caption("long", "a.", "b.", sub("bad.", 2, is_meta=True), "d.", sub("dup.", 4, weight=0.0), "f.")
    seen = {text for chosen in texts(policy.weighted(5), record(cut, caption("short", "z.")), 200) for text in chosen}
    assert seen == {"a.", "b.", "a. b.", "d.", "f.", "z."}


@pytest.mark.parametrize("flag", [{"is_fragment": True}, {"is_meta": True}, {"weight": 0.0}])
def test_bad_sentences_are_not_drawn_even_where_good_ones_are_few(flag: dict[str, Any]) -> None:
    bad = sub("bad.", 1, **flag)
    (chosen,) = texts(policy.weighted(8, p_raw=0), record(caption("long", "good.", bad)), 1)
    assert chosen == ["good."] * 8
    (chosen,) = texts(policy.weighted(8, p_raw=0), record(caption("raw", "alt"), caption("long", bad)), 1)
    assert chosen == ["alt"] * 8
    (chosen,) = texts(policy.weighted(8, p_raw=0), record(caption("long", bad)), 1)
    assert chosen == ["bad."] * 8


def test_unflagged_sentences_of_weight_0_are_better_than_flagged_ones() -> None:
    of = record(caption("long", sub("idle.", 0, weight=0.0), sub("meta.", 1, is_meta=True)))
    assert texts(policy.weighted(2), of, 1) == [["idle.", "idle."]]


def test_all_weights_0_are_drawn_equally() -> None:
    of = record(caption("long", *(sub(f"{x}.", n, weight=0.0) for n, x in enumerate("abc"))))
    counts = Counter(text for (text,) in texts(policy.weighted(1, 1), of, 2000))
    assert_drawn_as(counts, {"a.": 1 / 3, "b.": 1 / 3, "c.": 1 / 3})


def test_repeats_are_spread_evenly() -> None:
    (chosen,) = texts(policy.weighted(8, 1), record(caption("long", "a.", "b.", "c.")), 1)
    assert sorted(Counter(chosen).values()) == [2, 3, 3]


def test_equal_sentences_of_two_captions_are_one_text() -> None:
    of = record(caption("long", "a.", "b."), caption("short", "a."))
    assert {frozenset(chosen) for chosen in texts(policy.weighted(3), of, 50)} == {frozenset(["a.", "b.", "a. b."])}
    same = record(caption("raw", "a."), caption("raw", "a.", generation="raw2"), caption("short", "a."))
    assert texts(policy.weighted(3), same, 1) == [["a.", "a.", "a."]]


def test_raw_captions_come_whole_and_all_of_them() -> None:
    two = record(caption("raw", "a.", "b."), caption("raw", "c", generation="raw2"), caption("long", "d."))
    seen = Counter(text for chosen in texts(policy.weighted(1, p_raw=0.5), two, 4000) for text in chosen)
    assert_drawn_as(seen, {"a. b.": 0.25, "c": 0.25, "d.": 0.5})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"k": 0}, "k is 0"),
        ({"max_merge": 0}, "max_merge is 0"),
        ({"p_raw": 1.5}, "p_raw is 1.5"),
        ({"weights": {"x": -1.0}}, "x: -1.0"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        policy.weighted(**settings)
