"""β-CLIP reads the concepts of exports."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trainers
from exported_tables import tables

from recaption.errors import UserError
from recaption.export.formats import beta_clip


@pytest.fixture
def dataset(without_pixels: Any, plain: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(beta_clip, "LAYOUT", replace(beta_clip.LAYOUT, least=1))
    return without_pixels([plain] * 2, tables=tables("concepts"))


def test_beta_clip_reads_the_phrases_and_words_of_the_caption(dataset: Any, exported: Any, problems: Any) -> None:
    dest, done = exported("beta_clip", dataset)
    assert (done.samples, done.left_out) == (2, {})
    row, verb = json.loads((dest / beta_clip.FILE).read_bytes())
    assert (verb["concepts_minimal"], verb["concepts_words"]) == (["flies over"], ["flies", "over"])
    path = dest / "many.json"
    path.write_text(json.dumps([{**row, "id": str(n)} for n in range(1_001)]))
    ((texts, phrases, words),) = trainers.beta_clip(path, random.Random(0))
    assert texts[0] == "A red kite flies over dunes. The sky is grey. Waves break at the shore."
    assert phrases == ["A red kite", "dunes", "the sky", "a kite of a very old man", "flies over"]
    assert words == ["red", "kite", "dunes", "sky", "very", "old", "man", "flies", "over"]
    assert problems("beta_clip", path) == {}


def test_a_build_without_concepts_is_refused_with_what_to_add(without_pixels: Any, plain: Any, exported: Any) -> None:
    with pytest.raises(UserError, match=r"(?s)no table concepts.*annotate: \{tables: \[concepts\]\}.*recaption build"):
        exported("beta_clip", without_pixels([plain]))


@pytest.mark.parametrize(
    ("change", "kind", "severity"),
    [
        ({"concepts_minimal": None}, "no concepts", "error"),
        ({"concepts_words": [1]}, "no concepts", "error"),
        ({"concepts_minimal": []}, "empty concepts", "warning"),
    ],
)
def test_rows_without_concepts_are_problems(
    change: dict[str, Any], kind: str, severity: str, tmp_path: Path, problems: Any
) -> None:
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A red kite. It flies."}]
    row = {"image": "a.jpg", "conversations": turns, "concepts_minimal": ["kite"], "concepts_words": ["kite"]}
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{**row, "id": str(n)} for n in range(1_000)] + [{**row, "id": "last", **change}]))
    assert problems("beta_clip", path) == {kind: severity}
    if severity == "error":
        with pytest.raises((TypeError, AssertionError)):
            trainers.beta_clip(path, random.Random(0))
