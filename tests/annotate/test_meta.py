"""What the weights and the rules decide together."""

from __future__ import annotations

from collections.abc import Callable

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
    """With a few weights: a word that speaks for, pairs and a fact that speak against, and the rules."""

    def flag(text: str, by_rules: bool = False, is_negation: bool = False) -> bool:
        monkeypatch.setattr(meta, "is_meta_by_rules", lambda *_, **__: by_rules)
        words = [Token(text=word, tag="NN", start=0, end=0) for word in text.split()]
        facts = {"has_opener": False, "is_fragment": False, "is_negation": is_negation}
        return meta.is_meta(words, text, visible=(), **facts)

    table = {"mood": (9.0, {"</s>": -0.5}), "a": (0.0, {"mood": -6.0}), "<s>": (0.0, {"lively": -9.0})}
    weights = meta.Weights(-1.0, 3.0, {"#negation": -9.0}, table)
    monkeypatch.setattr(meta, "load", lambda: weights)
    assert flag("the mood")
    assert not flag("the mood", is_negation=True)
    assert not flag("lively mood")
    assert [flag("the cat is mood", by_rules=False), flag("mood the cat is the", by_rules=False)] == [True, True]
    assert [flag("a mood", by_rules=decided) for decided in (False, True)] == [False, True]
    assert not flag("a dog sees a dog", by_rules=True)


@pytest.mark.parametrize("text", [*NOTHING_TO_SEE.values(), *SOMETHING_TO_SEE.values()])
def test_the_features_are_what_the_weights_are_multiplied_with(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    weights = meta.load()
    flat = {f"{word} {after}": w for word, (_, pairs) in weights.words.items() for after, w in pairs.items()}
    flat |= {word: weight for word, (weight, _) in weights.words.items()} | weights.facts
    flat[meta.RULES] = weights.rules
    words = [Token(text=word, tag="NN", start=0, end=0) for word in [*text.lower().rstrip(".").split(), "."]]
    named = {"visible": (0, 4), "has_opener": False, "is_fragment": False, "is_negation": False}
    for by_rules in (False, True):
        monkeypatch.setattr(meta, "is_meta_by_rules", lambda *_, by_rules=by_rules, **__: by_rules)
        made = meta.features(words, meta.facts_of(len(words), **named), by_rules=by_rules)
        score = weights.bias + sum(flat.get(feature, 0.0) * value for feature, value in made.items())
        assert meta.is_meta(words, text, **named) == (score > 0)


def test_all_words_with_a_digit_are_one_word() -> None:
    words = [Token(text=word, tag="NN", start=0, end=0) for word in ("in", "1916", "the", "3rd", "well-lit", ",")]
    assert meta._tokens_of(words) == ["in", "<n>", "the", "<n>", "well-lit", ","]


def test_the_weights_are_complete() -> None:
    lines = meta.FILE.read_text("utf-8").splitlines()
    features = [line.partition("\t")[0] for line in lines]
    assert len(features) == len(set(features)) > 1000
    known = {feature for feature in features if not feature.startswith("#")}
    facts = [
        fact
        for n in range(100)
        for fact in meta.facts_of(n, range(n), has_opener=True, is_fragment=True, is_negation=True)
    ]
    assert {meta.BIAS, meta.RULES} <= set(features) - known <= {meta.BIAS, meta.RULES, *facts}
    assert meta.load().rules > 0
    loaded = meta.load().words
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
