"""The data of MLLMs-Augmented: one sentence per image and model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recaption.errors import UserError
from recaption.export.formats import mllms_augmented


def test_captions_are_the_first_complete_sentence(
    without_pixels: Any, plain: Any, exported: Any, problems: Any
) -> None:
    long = f"{'word ' * 31}. Short."
    opened = {"long": "The image shows a red  kite. It flies.", "short": "A kite."}
    dest, done = exported("mllms_augmented", without_pixels([plain, opened, {"long": long, "raw": "a\nb. c"}]))
    read = {path.name: json.loads(path.read_bytes()) for path in dest.iterdir()}
    assert read == {
        "long.json": [
            {"image": "k0000.jpg", "caption": "A red kite flies over dunes."},
            {"image": "k0001.jpg", "caption": "a red kite."},
        ],
        "short.json": [{"image": "k0000.jpg", "caption": plain["short"]}, {"image": "k0001.jpg", "caption": "A kite."}],
        "raw.json": [{"image": "k0000.jpg", "caption": "red kite"}, {"image": "k0002.jpg", "caption": "a b. c"}],
    }
    assert (done.samples, done.files) == (3, 3) and problems("mllms_augmented", dest) == {}


def test_the_map_names_files(without_pixels: Any, plain: Any, exported: Any) -> None:
    dest, _ = exported("mllms_augmented", without_pixels([plain]), map={"LLaVA": "long"})
    assert sorted(path.name for path in dest.iterdir()) == ["LLaVA.json", "raw.json"]
    for name, of in (("raw", "long"), ("a/b", "long"), ("a", "nosuch")):
        with pytest.raises(UserError, match=f"map {name}={of}"):
            exported("mllms_augmented", without_pixels([plain]), map={name: of})


@pytest.mark.parametrize(
    ("row", "kind", "severity"),
    [
        ({"image": "b.jpg"}, "missing text", "error"),
        ("text", "missing text", "error"),
        ({"image": "b.jpg", "caption": " "}, "empty text", "error"),
        ({"image": "b.jpg", "caption": "a\nb"}, "several lines", "warning"),
        ({"image": "a.jpg", "caption": "again"}, "duplicate image", "warning"),
    ],
)
def test_rows_are_checked(row: Any, kind: str, severity: str, tmp_path: Path, problems: Any) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"image": "a.jpg", "caption": "A kite."}, row]))
    assert problems("mllms_augmented", path) == {kind: severity}
    path.write_text('[{"image": "a.jpg"')
    assert problems("mllms_augmented", path) == {"not a JSON list": "error"}
    assert mllms_augmented.RAW == "raw.json"
