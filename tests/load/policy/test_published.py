"""The policies of FLAIR, DreamLIP, COSMOS and LoTLIP draw as their released code does, or as it is meant."""

from __future__ import annotations

import csv
import json
import random
from collections import Counter
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import trainers
from few_words import DRAWS, assert_drawn_alike, assert_drawn_as, bag, caption, record

from recaption.load import policy
from recaption.types import Record
from recaption.write.profile import flair_profile

POOL = list("abdefcghi")  # FLAIR's order of `bag`: raw, short, long, short, long
GENERATED = POOL[1:]
KINDS = {"short": "short", "short2": "short", "long": "long", "long2": "long"}


def drawn(draw: policy.Policy, of: Record, times: int, seed: int = 0) -> list[list[str]]:
    rng = np.random.default_rng(seed)
    return [[one.text for one in draw(of, rng, 0)] for _ in range(times)]


def flair_sample(of: Record) -> dict[str, bytes]:
    """As our output with profile flair has it."""
    return {"jpg": b"", "json": json.dumps(flair_profile(KINDS, {}).lists(of.captions)).encode()}


def windows(pool: list[str], size: int) -> list[str]:
    return [". ".join(pool[at : at + size]) for at in range(len(pool) - size + 1)]


def flair_as_meant(pool: list[str], most: int) -> dict[str, float]:
    expected: Counter[str] = Counter()
    for size in range(1, most + 1):
        together, apart = windows(pool, size), [". ".join(some) for some in permutations(pool, size)]
        for texts, share in ((together, 0.5), (apart, 0.5)):
            for text in texts:
                expected[text] += share / most / len(texts)
    return dict(expected)


def test_flair_draws_as_it_is_meant() -> None:
    counts = Counter(text for texts in drawn(policy.flair(), bag(), DRAWS // 8) for text in texts)
    assert_drawn_as(counts, flair_as_meant(POOL, 3))


def test_flair_compat_draws_as_the_released_code() -> None:
    counts = Counter(text for texts in drawn(policy.flair(compat=True), bag(), DRAWS // 8) for text in texts)
    rng, sample = random.Random(1), flair_sample(bag())
    assert_drawn_alike(counts, Counter(text for _ in range(DRAWS // 8) for text in trainers.flair(sample, rng) or []))


def test_flair_compat_never_draws_the_last_window_of_three_and_the_default_does() -> None:
    one_text = record(caption("long", *(f"{letter}." for letter in "abcd")))
    texts = {kind: drawn(policy.flair(compat=kind), one_text, 1000) for kind in (True, False)}
    share = {kind: sum(chosen.count("b. c. d") for chosen in all_of) / 8000 for kind, all_of in texts.items()}
    # in random order it comes once in 6 x 24, as one of two windows of three once in 6 x 2 beside
    assert share[True] < 0.015 < 0.07 < share[False]


@pytest.mark.parametrize("sentences", ["a", "ab"])
def test_flair_of_a_few_sentences(sentences: str) -> None:
    few = record(caption("long", *(f"{letter}." for letter in sentences)))
    compat = Counter(text for texts in drawn(policy.flair(compat=True), few, 1500) for text in texts)
    rng, sample = random.Random(1), flair_sample(few)
    assert_drawn_alike(compat, Counter(text for _ in range(1500) for text in trainers.flair(sample, rng) or []))
    fixed = {text for texts in drawn(policy.flair(), few, 500) for text in texts}
    assert all(len(set(text)) == len(text.replace(". ", "")) + (2 if ". " in text else 0) for text in fixed)


@pytest.mark.parametrize("merged", [1, 2])
def test_dreamlip_compat_draws_as_the_released_code(merged: int, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c" / "d.csv"  # it takes the fifth part of the path for a name
    path.parent.mkdir(parents=True)
    with path.open("w", newline="") as file:
        header, row = ["image"], ["x.jpg", "a.", "b.", "d. e. f.", "c.", "g. h. i.", "", ""]
        csv.writer(file).writerows([header, *[row] * (DRAWS // 3)])
    rng = random.Random(1)
    told = Counter(tuple(texts) for _, texts in trainers.dreamlip(path, rng, texts=2, merged=merged))
    ours = drawn(policy.dreamlip(2, merged, compat=True), bag(), DRAWS // 3)
    assert_drawn_alike(Counter(map(tuple, ours)), told)


@pytest.mark.parametrize("merged", [1, 2, 3])
def test_dreamlip_draws_as_it_is_meant(merged: int) -> None:
    pairs = [("a.", *two) for two in permutations(windows(GENERATED, merged), 2)]
    counts = Counter(map(tuple, drawn(policy.dreamlip(2, merged), bag(), DRAWS // 3)))
    assert_drawn_as(counts, {pair: 1 / len(pairs) for pair in pairs})


def test_dreamlip_of_too_few_windows_draws_with_replacement() -> None:
    few = record(caption("raw", "r."), caption("long", "a.", "b."))
    counts = Counter(tuple(texts[1:]) for texts in drawn(policy.dreamlip(3), few, DRAWS // 4))
    assert_drawn_as(counts, {tuple(f"{n:03b}".translate({48: "a", 49: "b"})): 1 / 8 for n in range(8)})


@pytest.mark.parametrize("sentences", ["a", "ab"])
def test_dreamlip_compat_gives_texts_where_the_released_code_dies(sentences: str) -> None:
    few = record(caption("raw", "r."), caption("long", *(f"{letter}." for letter in sentences)))
    assert drawn(policy.dreamlip(compat=True), few, 1) == [["r.", *"aaaaaa"]]


@pytest.mark.parametrize("of", [bag(), record(caption("raw", "a."), caption("long", "b.", "c."))])
def test_cosmos_draws_as_the_released_code(of: Record) -> None:
    ours, rng, sample = drawn(policy.cosmos(4), of, DRAWS // 4), random.Random(1), flair_sample(of)
    theirs = [trainers.cosmos(sample, "textcrop", rng, 4) for _ in range(DRAWS // 4)]

    def size_and_first(text: str) -> tuple[int, str]:  # its whole text has too many forms to count
        return len(text.split(". ")), text.split(". ")[0]

    views: list[Callable[[list[str]], object]] = [
        lambda texts: (size_and_first(texts[0]), len(texts[1].split(". "))),
        lambda texts: size_and_first(texts[1]),
        lambda texts: tuple(texts[2:]),
        lambda texts: (texts[0].split(". ")[-1], texts[2]),
    ]
    if of != bag():
        views.append(lambda texts: texts[0])
    for view in views:
        assert_drawn_alike(Counter(map(view, ours)), Counter(map(view, theirs)))


def test_lotlip_takes_three_sentences_of_one_long_caption() -> None:
    of = record(*bag().captions[:4], caption("long", "g.", "h.", "i.", "j."))
    counts = Counter(map(tuple, drawn(policy.lotlip(), of, DRAWS // 2)))
    assert_drawn_as(counts, {("a.", "d. e. f"): 1 / 2, ("a.", "g. h. i"): 1 / 4, ("a.", "h. i. j"): 1 / 4})


def test_lotlip_takes_what_there_is_of_a_short_one() -> None:
    assert drawn(policy.lotlip(2), record(caption("long", "a.", "b.")), 1) == [["a. b.", "a. b", "a. b"]]
