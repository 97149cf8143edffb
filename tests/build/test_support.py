"""Weights of verified sub-captions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

from recaption.build.support import by_similarity, by_verification, factor, weighed
from recaption.config import Dissimilar, Weights
from recaption.types import Caption, Record, SubCaption

SUB = SubCaption(
    sub_id="a/long/0#0", idx=0, text="A dog.", char_start=0, char_end=6, n_words=2, content_start=0, weight=0.8
)


def record(*weights: float, key: str = "a") -> Record:
    """A record with a caption whose sub-captions have these weights."""
    caption_id = f"{key}/long/0"
    subs = (replace(SUB, sub_id=f"{caption_id}#{n}", idx=n, weight=weight) for n, weight in enumerate(weights))
    caption = Caption(
        caption_id=caption_id,
        generation="long",
        source="m:p",
        granularity="long",
        text="A dog. A dog.",
        sub_captions=tuple(subs),
    )
    return Record(key=key, source_key=key, shard="0", row=0, sha256="", status="ok", captions=(caption,))


def table(*rows: tuple[str, float | None]) -> pa.Table:
    columns: dict[str, Any] = {"sub_id": [sub_id for sub_id, _ in rows], "p_true": [p for _, p in rows]}
    return pa.table(columns, schema=pa.schema([("sub_id", pa.string()), ("p_true", pa.float64())]))


def weights_of(records: list[Record]) -> list[float]:
    return [s.weight for r in records for c in r.captions for s in c.sub_captions]


@pytest.mark.parametrize(
    ("p_true", "expected"), [(0.0, 0.1), (0.1, 0.1), (0.5, 0.55), (0.7, 0.775), (0.9, 1.0), (1.0, 1.0)]
)
def test_the_factor_rises_between_clear_negatives_and_clear_positives(p_true: float, expected: float) -> None:
    assert factor(p_true, 0.1) == pytest.approx(expected)
    assert factor(p_true, 1.0) == 1.0


def test_only_verified_sub_captions_change() -> None:
    made = by_verification(
        [record(0.8, 0.8, 0.8), record(0.5, key="b")], table(("a/long/0#0", 0.01), ("a/long/0#1", 0.99)), 0.1
    )
    assert weights_of(made) == [0.08, 0.8, 0.8, 0.5]
    assert weighed([record(0.8)], {}, Weights()) == [record(0.8)]
    assert weighed([record(0.8)], {"verifications": table()}, Weights()) == [record(0.8)]


def test_the_mean_of_several_verifications_counts() -> None:
    several = table(("a/long/0#0", 1.0), ("a/long/0#0", 0.0))
    assert weights_of(by_verification([record(1.0)], several, 0.1)) == [0.55]


def test_a_value_that_is_no_probability_changes_nothing() -> None:
    assert weights_of(
        by_verification([record(1.0, 1.0)], table(("a/long/0#0", float("nan")), ("a/long/0#1", None)), 0.1)
    ) == [1.0, 1.0]


@pytest.mark.parametrize(
    ("original", "repetition", "weights", "is_repetition"),
    [(0.02, 0.98, [0.08, 0.8], False), (0.98, 0.98, [0.8, 0.0], True), (0.02, 0.02, [0.08, 0.0], True)],
)
def test_a_supported_repetition_of_an_unsupported_sentence_takes_its_place(
    original: float, repetition: float, weights: list[float], is_repetition: bool
) -> None:
    first = record(0.8, 0.0)
    (caption,) = first.captions
    one, other = caption.sub_captions
    other = replace(other, dup_of=one.sub_id)
    first = replace(first, captions=(replace(caption, sub_captions=(one, other)),))
    made = by_verification([first], table((one.sub_id, original), (other.sub_id, repetition)), 0.1)
    assert weights_of(made) == weights
    assert (made[0].captions[0].sub_captions[1].dup_of is not None) == is_repetition


def test_a_repetition_that_is_not_verified_stays_one() -> None:
    first = record(0.8, 0.0)
    (caption,) = first.captions
    one, other = caption.sub_captions
    first = replace(first, captions=(replace(caption, sub_captions=(one, replace(other, dup_of=one.sub_id))),))
    (made,) = by_verification([first], table((one.sub_id, 0.0)), 0.1)
    assert weights_of([made]) == [0.08, 0.0] and made.captions[0].sub_captions[1].dup_of == one.sub_id


def test_a_factor_of_0_excludes_clearly_unsupported_texts() -> None:
    (made,) = by_verification([record(1.0, 1.0)], table(("a/long/0#1", 0.05)), 0.0)
    assert weights_of([made]) == [1.0, 0.0]


def test_the_setting_is_dumped_only_where_it_differs_from_its_default() -> None:
    assert "unsupported" not in Weights().model_dump(mode="json")
    assert "unsupported" not in Weights(unsupported=0.1, opener=0.5).model_dump()
    assert Weights(unsupported=0.3).model_dump(mode="json")["unsupported"] == 0.3
    assert Weights.model_validate(Weights(unsupported=0.3).model_dump(mode="json")) == Weights(unsupported=0.3)


def scores(*rows: tuple[str, str | None, str | None, float | None]) -> pa.Table:
    """Rows of generation, sub_id, object and score."""
    names = ("generation", "sub_id", "object", "score")
    return pa.table(
        {name: [row[at] for row in rows] for at, name in enumerate(names)},
        schema=pa.schema([*((name, pa.string()) for name in names[:3]), ("score", pa.float64())]),
    )


CLIP = Dissimilar(generation="clip", low=0.1, high=0.3, factor=0.2)


def test_dissimilar_sub_captions_have_lower_weights() -> None:
    rows = [(f"a/long/0#{n}", value) for n, value in enumerate((0.0, 0.1, 0.2, 0.3, None))]
    table = scores(*(("clip", sub_id, None, value) for sub_id, value in rows))
    assert weights_of(by_similarity([record(*[0.5] * 6)], table, CLIP)) == [0.1, 0.1, 0.3, 0.5, 0.5, 0.5]


def test_scores_of_objects_captions_and_other_generations_have_no_effect_on_weights() -> None:
    table = scores(("clip", "a/long/0#0", "dog", 0.0), ("clip", None, None, 0.0), ("other", "a/long/0#0", None, 0.0))
    assert by_similarity([record(0.5)], table, CLIP) == by_similarity([record(0.5)], None, CLIP) == [record(0.5)]


def test_both_factors_apply() -> None:
    tables = {"verifications": table(("a/long/0#0", 0.0)), "scores": scores(("clip", "a/long/0#0", None, 0.0))}
    assert weights_of(weighed([record(1.0)], tables, Weights(dissimilar=CLIP))) == [0.02]
    assert weights_of(weighed([record(1.0)], tables, Weights())) == [0.1]


def test_the_setting_of_dissimilar_texts_is_dumped_only_where_it_is_set() -> None:
    assert "dissimilar" not in Weights().model_dump(mode="json")
    assert Weights.model_validate(Weights(dissimilar=CLIP).model_dump(mode="json")).dissimilar == CLIP
