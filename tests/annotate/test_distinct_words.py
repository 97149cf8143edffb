"""Computation per distinct word: the same result as spaCy's, and no replacement where it would differ."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import spacy
from spacy.ml.models import CharacterEmbed, MaxoutWindowEncoder, MultiHashEmbed, build_Tok2Vec_model
from spacy.tokens import Doc

from recaption.annotate import distinct_words
from recaption.annotate.distinct_words import compute_per_distinct_word
from recaption.annotate.spacy_tagger import SHIPPED, Tagger

LONG = "x " * 1_200  # more words than a chunk has
TEXTS = ("Two brown dogs sit on a wooden bench, and a third dog runs. 🐶", "", "A dog", LONG)


def layers(model: Any) -> list[str]:
    return [node.name for node in model.walk()]


def tok2vec(*, depth: int, embed: Any = None) -> tuple[Any, list[Doc]]:
    """An initialized model of width 16, and Docs."""
    nlp = spacy.blank("en")
    docs = [nlp.make_doc(text) for text in TEXTS]
    embed = embed or MultiHashEmbed(16, ["NORM", "SHAPE"], [50, 50], include_static_vectors=False)
    encoder = MaxoutWindowEncoder(width=16, window_size=1, maxout_pieces=3, depth=depth)
    model = build_Tok2Vec_model(embed, encoder)
    model.initialize(X=docs)
    return model, docs


def equal(a: list[Any], b: list[Any]) -> bool:
    return all(np.allclose(x, y, atol=1e-5) for x, y in zip(a, b, strict=True))


def test_the_shipped_tagger_gives_the_same_tags() -> None:
    plain, tagger = spacy.load(SHIPPED), Tagger(None)
    expected = [[token.tag_ for token in doc if not token.is_space] for doc in plain.pipe(TEXTS)]
    assert [[token.tag for token in tokens] for tokens in tagger.tokens(TEXTS)] == expected


def test_the_encoder_of_the_shipped_tagger_is_replaced() -> None:
    names = [name for _, part in Tagger(None).nlp.pipeline for name in layers(part.model)]
    assert "per_distinct_word" in names
    assert not [name for name in names if name.startswith("residual")], "its encoder has more than one layer"


@pytest.mark.parametrize(("depth", "encoder_stays"), [(1, False), (4, True)])
def test_vectors_are_the_same_and_only_an_encoder_of_one_layer_is_replaced(depth: int, encoder_stays: bool) -> None:
    model, docs = tok2vec(depth=depth)
    expected = model.predict(docs)
    assert compute_per_distinct_word(model, docs[:1])
    assert equal(model.predict(docs), expected)
    assert any(name.startswith("residual") for name in layers(model)) == encoder_stays


def test_another_embedding_is_left_unchanged() -> None:
    model, docs = tok2vec(depth=1, embed=CharacterEmbed(16, 50, 8, 2, include_static_vectors=False))
    before = layers(model)
    assert not compute_per_distinct_word(model, docs)
    assert layers(model) == before


def raising(*args: Any) -> Any:
    raise AttributeError("no such layer")


def other_vectors(ops: Any, window: Any, vectors: Any, which: Any, lengths: Any) -> Any:
    return vectors[which]


@pytest.mark.parametrize("encoded", [raising, other_vectors])
def test_a_model_whose_vectors_would_change_is_left_unchanged(
    monkeypatch: pytest.MonkeyPatch, encoded: Callable[..., Any]
) -> None:
    model, docs = tok2vec(depth=1)
    before, expected = layers(model), model.predict(docs)
    monkeypatch.setattr(distinct_words, "_encoded", encoded)
    assert not compute_per_distinct_word(model, docs)
    assert layers(model) == before
    assert equal(model.predict(docs), expected)
