from __future__ import annotations

from typing import Any

import pytest

from recaption.write.described import generations_of, models_of, prompts_of, source_of, tables


def file(table: str, split: str | None, rows: int) -> dict[str, Any]:
    return {"table": table, "split": split, "rows": rows, "bytes": 10 * rows}


def manifest(**more: Any) -> dict[str, Any]:
    shards = [
        {"files": [file("zebras", None, 3), file("data", "train", 4), file("data", "val", 1), file("tags", None, 9)]},
        {"files": [file("data", "train", 2), file("tar_index", "train", 2), file("verifications", None, 5)]},
    ]
    return {"format": "webdataset", "shards": shards, "provenance": {}, "generations": [], **more}


def generation(id: str, model: str, prompt: str | None = "p", column: str | None = None) -> dict[str, Any]:
    return {"id": id, "model": model, "prompt": prompt, "column": column}


def test_tables_are_data_then_the_flat_ones_then_the_others() -> None:
    found = tables(manifest(tables=[{"name": "verifications", "description": "verified sentences"}]))
    assert [table.name for table in found] == ["data", "tags", "verifications", "zebras"], "no indexes of tars"
    data, tags, verifications, zebras = found
    assert (data.files, data.rows, data.bytes) == (3, {"train": 6, "val": 1}, {"train": 60, "val": 10})
    assert data.patterns == {"train": "data/*.tar", "val": "data/val/*.tar"}
    assert tags.patterns == {None: "tags/*.parquet"}
    assert (verifications.description, zebras.description) == ("verified sentences", None)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("s3://user:secret@bucket/a/b.tar?X-Amz-Signature=1", "s3://bucket/a/b.tar"),
        ("/home/somebody/data/cc3m", "data/cc3m"),
        ("~/data/cc3m", "data/cc3m"),
        ("data/cc3m", "data/cc3m"),
    ],
)
def test_a_source_is_shown_without_its_private_parts(path: str, shown: str) -> None:
    assert source_of(manifest(provenance={"source": path})) == shown
    assert source_of(manifest(provenance={"source": path, "card": {"source": "CC3M"}})) == "CC3M"


def test_generations_of_tasks_count_too() -> None:
    made = manifest(
        generations=[generation("long", "vlm"), generation("alt", "source", None, "caption")],
        tasks=[generation("check", "judge", "is_it_true")],
        provenance={"models": {"vlm": {"model": "/models/mine/v1", "dtype": None}}, "prompts": {"p": {"version": 2}}},
    )
    assert [each["id"] for each in generations_of(made)] == ["long", "alt", "check"]
    assert models_of(made) == {"vlm": {"model": "mine/v1"}, "judge": {"model": "judge"}}
    assert prompts_of(made) == {"p": {"version": 2}, "is_it_true": {}}
