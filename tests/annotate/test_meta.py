"""What the weights and the rules decide together."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from recaption.annotate import meta
from recaption.annotate.meta_rules import is_meta_by_rules
from recaption.annotate.tagged_words import Token
from recaption.types import SubCaption

Subs = Callable[..., tuple[SubCaption, ...]]

NOTHING_TO_SEE = {
    "mood": "Overall, the scene conveys a sense of calm.",
    "composition": "The composition is well balanced.",
    "composition with a thing": "The composition is balanced, with the dog in the center.",
    "lighting": "The lighting is soft and natural.",
    "place of the camera": "The photo was taken from a low angle.",
    "what the picture does not tell": "The exact location cannot be determined from the image alone.",
    "history": "Originally built by the monks, it was converted into a school in 1920.",
    "essence": "The image captures the essence of rural life and its rich heritage.",
    "guess about the setting": "The overall setting suggests a professional environment focused on functionality.",
}
SOMETHING_TO_SEE = {
    "thing": "The dog is calm.",
    "frame before a thing": "The image shows a dog.",
    "thing with an effect": "A red door adds a pop of color to the wall.",
    "camera": "A camera lies on the table.",
    "place": "The setting is a dark, eerie forest.",
    "event": "The overall scene is a birthday party.",
    "angle before a thing": "A high-angle, close-up shot captures a bowl of soup.",
    "focus on a thing": "The primary focus is on a white sofa.",
    "background": "In the background, there are trees and a fence.",
    "old building": "The old stone castle stands on a hill above the river.",
    "taken": "Taken from the shelf, the book lies on the table.",
    "colors of things": "The walls are painted in a warm orange, and the curtains are white.",
}


@pytest.mark.parametrize("what", NOTHING_TO_SEE)
def test_a_sentence_without_anything_to_see_is_meta(subs: Subs, what: str) -> None:
    assert [sub.is_meta for sub in subs(NOTHING_TO_SEE[what])] == [True]


@pytest.mark.parametrize("what", SOMETHING_TO_SEE)
def test_a_sentence_with_something_to_see_is_content(subs: Subs, what: str) -> None:
    assert [sub.is_meta for sub in subs(SOMETHING_TO_SEE[what])] == [False]


def test_rules_decide_where_the_words_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the weights of a file of three lines: a word that speaks for, a pair that speaks against, and the rules."""

    def flag(text: str, by_rules: bool) -> bool:
        monkeypatch.setattr(meta, "is_meta_by_rules", lambda *_, **__: by_rules)
        words = [Token(text=word, tag="NN", start=0, end=0) for word in text.split()]
        facts = {"has_opener": False, "is_fragment": False, "is_negation": False}
        return meta.is_meta(words, text, visible=(), **facts)

    weights = meta._Weights(-1.0, 3.0, {}, {"mood": (9.0, {}), "a": (0.0, {"mood": -6.0})})
    monkeypatch.setattr(meta, "_weights", lambda: weights)
    assert flag("the mood", by_rules=False)
    assert [flag("a mood", by_rules=decided) for decided in (False, True)] == [False, True]
    assert not flag("a dog sees a dog", by_rules=True)


def test_all_numbers_are_one_word() -> None:
    words = [Token(text=word, tag="NN", start=0, end=0) for word in ("in", "1916", "the", "3rd", "well-lit", ",")]
    assert meta.tokens_of(words) == ["in", "<n>", "the", "<n>", "well-lit", ","]


def test_the_weights_are_complete() -> None:
    lines = Path(meta._FILE).read_text("utf-8").splitlines()
    features = [line.partition("\t")[0] for line in lines]
    assert len(features) == len(set(features)) > 1000
    assert {meta.BIAS, meta.RULES, "#opener", "#visible0", "#visible4"} <= set(features)
    known = {feature for feature in features if not feature.startswith("#")}
    loaded = meta._weights().words
    assert known == {word for word, (weight, _) in loaded.items() if weight} | {
        f"{word} {after}" for word, (_, pairs) in loaded.items() for after in pairs
    }


def test_the_rules_alone_are_not_the_flag() -> None:
    """A property of the picture that can be seen, which rules take for a statement about it."""
    text = "The image is black and white."
    tags = {"the": "DT", "image": "NN", "is": "VBZ", "black": "JJ", "and": "CC", "white": "JJ", ".": "."}
    words = [Token(text=word, tag=tag, start=at, end=at + 1) for at, (word, tag) in enumerate(tags.items())]
    facts = {"visible": (), "has_opener": False, "is_fragment": False}
    assert is_meta_by_rules(words, text, **facts)
    assert not meta.is_meta(words, text, is_negation=False, **facts)
