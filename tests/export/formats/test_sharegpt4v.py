"""Long-CLIP and its relatives read exports: captions without openers, and enough rows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trainers

from recaption.errors import UserError
from recaption.export.formats import sharegpt4v

OPENED = {"long": "The image shows a red kite. It flies over dunes.", "short": "kite"}
DOCTOR = {"long": "Dr. Smith flies a kite. The sky is grey.", "short": "kite"}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports of two rows: 1,001 would take seconds. The validator keeps the true number."""
    monkeypatch.setattr(sharegpt4v, "LAYOUT", replace(sharegpt4v.LAYOUT, least=2))


def test_short_captions_are_first_sentences_without_openers(
    small: None, without_pixels: Any, exported: Any, problems: Any
) -> None:
    dest, done = exported("sharegpt4v", without_pixels([OPENED, DOCTOR, {"short": "no long one"}]))
    rows = json.loads((dest / sharegpt4v.FILE).read_bytes())
    assert [row["conversations"][1]["value"] for row in rows] == ["A red kite. It flies over dunes.", DOCTOR["long"]]
    assert "openers removed: 1; short captions that end before their sentence does: 1" in done.notes
    assert (done.samples, done.left_out) == (2, {"no text of long": 1})
    path = dest / "many.json"
    path.write_text(json.dumps([{**rows[n % 2], "id": str(n)} for n in range(1_002)]))
    validation, train = trainers.sharegpt4v(path)
    assert len(validation) == 1_000
    assert train == [
        ("k0000.jpg", "A red kite. It flies over dunes.", "A red kite"),
        ("k0001.jpg", DOCTOR["long"], "Dr"),
    ]
    assert problems("sharegpt4v", path) == {"short caption ends early": "warning"}


def test_too_few_rows_are_an_error_and_nothing_is_left(
    without_pixels: Any, plain: Any, exported: Any, problems: Any, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="1 sample, but the trainer needs at least 1,001"):
        exported("sharegpt4v", without_pixels([plain]))
    assert not [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"id": str(n), "image": "a.jpg", "conversations": TURNS} for n in range(1_000)]))
    assert problems("sharegpt4v", path) == {"nothing to train on": "error"}
    assert trainers.sharegpt4v(path)[1] == []


TURNS = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A red kite. It flies."}]


@pytest.mark.parametrize(
    ("change", "kind", "error"),
    [
        ({"conversations": TURNS[:1]}, "no conversations", IndexError),
        ({"conversations": [TURNS[0], {"from": "gpt", "value": None}]}, "no caption", AttributeError),
        ({"conversations": [TURNS[0], {"from": "gpt", "value": " "}]}, "no caption", None),
        ({"image": ""}, "no image", None),
    ],
)
def test_rows_that_end_the_training_are_problems(
    change: dict[str, Any], kind: str, error: type[Exception] | None, tmp_path: Path, problems: Any
) -> None:
    row = {"image": "a.jpg", "conversations": TURNS}
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{**row, "id": str(n)} for n in range(1_001)] + [{**row, "id": "last", **change}]))
    assert problems("sharegpt4v", path) == {kind: "error"}
    if error is not None:
        with pytest.raises(error):
            trainers.sharegpt4v(path)
