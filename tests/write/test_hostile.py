"""Captions from the web and from models that went wrong, assembled, annotated and written in every format."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from damage import kinds
from writing import write_manifest, write_shard

from recaption.annotate import Annotator
from recaption.build.assemble import Assembled
from recaption.config import Annotate
from recaption.io.store import LocalStore
from recaption.tasks.cleaning import clean
from recaption.text import LONGEST, normalise
from recaption.types import Record

HOSTILE = [
    "NUL \0 in the middle. And \0\0 more.",
    "lone \ud800 surrogate \udfff. Two.",
    "bidi \u202eevil\u202c and zero\u200bwidth \ufeff. \u2066isolate\u2069",
    "</script><script>alert(1)</script>\"'\\",
    "a\r\nb\u2028c\u2029d\x85e\x0bf\x0cg",
    "e\u0301\u0301 \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "a" + "\u0301" * 5000,
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "'); DROP TABLE captions; --",
    "=cmd|' /C calc'!A0",
    "%s %(x)s {x} {{y}} ${z}",
    "\ufdd0 \uffff \U0010ffff",
    "..." * 1000 + "1. 2. 3. - - - **a** __",
    "(" * 5000,
]
EMPTY = ["\0", " \r\n", "\x1c\x1d"]
FORMATS = ("sidecar", "webdataset", "parquet")


@pytest.fixture(scope="module")
def annotator() -> Iterator[Annotator]:
    yield Annotator(Annotate())


def write(root: Path, make: Any, shard: Any, records: list[Record], made: Assembled, **settings: Any) -> None:
    """A whole build of one shard, in `root`/<format>."""
    for format in FORMATS:
        store = LocalStore(root / format)
        entry = write_shard(
            store,
            "b",
            "00000",
            records,
            shard.images,
            format=format,  # type: ignore[arg-type]
            primary=["long"],
            rejects=made.rejects,
            asked=made.asked,
            **settings,
        )
        write_manifest(
            store,
            "b",
            name="hostile",
            build="b",
            format=format,  # type: ignore[arg-type]
            image_mode="jpeg",
            shards=[entry],
            generations=shard.generations,
            require=[],
            primary=["long"],
            sampling={"policy": "weighted", "k": 1, "max_merge": 1, "p_raw": 0.1},
            **settings,
        )


def shard_of(make: Any, texts: list[str]) -> Any:
    """An image for each text, which is its raw caption and its answer; names and addresses are no better."""
    pairs, answers = [], {}
    for row, text in enumerate(texts):
        data = make.picture(row)
        image = make.image(row, data, raw=text, source_key=f"../{text[:99]}\0\ud800", url=f"http://\ud800\0{text[:99]}")
        pairs.append((image, data))
        answers[image.key] = make.answer(image, text)
    return make.Shard(pairs=pairs, answers={"long": answers}, rejects=[], generations=[make.LONG], require=())


def test_hostile_texts_are_stored_as_they_are_normalised(tmp_path: Path, make: Any, annotator: Annotator) -> None:
    shard = shard_of(make, [*HOSTILE, *EMPTY])
    made = shard.assembled()
    captions = annotator.annotate([record.captions for record in made.records])
    records = [replace(record, captions=found) for record, found in zip(made.records, captions, strict=True)]
    write(tmp_path / "out", make, shard, records, made, tokenizers=annotator.tokenizers)
    for format in FORMATS:
        build = tmp_path / "out" / format / "b"
        assert kinds(build) == ({"no source"} if format == "sidecar" else set())
        stored = pq.read_table(build / "captions/00000.parquet")["text"].to_pylist()
        raw, long = ([normalise(text) for text in HOSTILE], [clean(text).text for text in HOSTILE])
        assert stored == [text for pair in zip(raw, long, strict=True) for text in pair if text]
        status = pq.read_table(build / "images/00000.parquet")["status"].to_pylist()
        assert status == ["ok" if text else "partial" for text in long] + ["reject"] * len(EMPTY)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(FORMATS)


def test_a_megabyte_of_text(tmp_path: Path, make: Any) -> None:
    shard = shard_of(make, ["x. " * 350_000])
    made = shard.assembled()
    write(tmp_path, make, shard, list(made.records), made)
    for format in FORMATS:
        assert kinds(tmp_path / format / "b") == ({"no source"} if format == "sidecar" else set())


def test_a_long_run_without_a_space_is_annotated(make: Any, annotator: Annotator) -> None:
    (record,) = shard_of(make, ["x" * 2**18]).assembled().records
    ((caption,),) = annotator.annotate([record.captions[:1]])
    assert [(sub.char_start, sub.char_end) for sub in caption.sub_captions] == [(0, LONGEST)]
