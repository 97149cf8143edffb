"""The tokens of the box model."""

from __future__ import annotations

import pytest

pytest.importorskip("transformers")

from recaption import prompt
from training.locate.build import LOCS, build_tokenizer, question


def test_words_and_coordinates_are_one_token_each():
    tokenizer = build_tokenizer()
    phrases = ["small solid red star", "wooden table top"]
    text = question(phrases)
    assert text == prompt.load("regions_florence2").fill_in({"phrases": phrases})
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == 1 + 4 + 1 + 3
    assert tokenizer.decode(ids) == text
    first = tokenizer.convert_tokens_to_ids(LOCS[0])
    assert [tokenizer.convert_tokens_to_ids(text) for text in LOCS] == [*range(first, first + len(LOCS))]


@pytest.mark.parametrize("text", ["<loc_3>", "A dog, 12 cats; yes?\n", "naïve ✓"])
def test_other_texts_are_bytes(text):
    tokenizer = build_tokenizer()
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"]) == text
