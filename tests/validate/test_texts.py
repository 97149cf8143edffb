"""Problems of captions, sub-captions, tags, answers and token ids."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damage import (
    KITE,
    TAXI,
    check_found,
    edit_json,
    edit_rows,
    first_row,
    found,
    in_manifest,
    in_rows,
    in_table,
    is_long,
    output_of,
    seal,
    with_captions,
    with_first_sub,
)
from small_output import answer_all, build_all, pipeline_data, write_source
from verified import add_table, verify_long

from recaption import schema
from recaption.tasks.base import TableSpec
from recaption.types import Caption, Record, SubCaption
from recaption.validate import validate_output
from recaption.validate.texts import kinds_of

CHECKED = "verifications/00000.parquet"
LONG = "answers/long-00000000000000a1/00000.parquet"


def with_first_tag(**changes: Any) -> Callable[[Record], Record]:
    return with_first_sub(tags=lambda sub: (replace(sub.tags[0], **changes), *sub.tags[1:]))


def with_is_last(caption: Caption, is_last: bool) -> Caption:
    return replace(caption, sub_captions=tuple(replace(sub, is_last=is_last) for sub in caption.sub_captions))


def without_last_sub(caption: Caption) -> Caption:
    only = replace(caption, sub_captions=caption.sub_captions[:1])
    return with_is_last(only, True) if is_long(caption) else caption


def without_first_sub(caption: Caption) -> Caption:
    second = replace(caption.sub_captions[-1], sub_id=f"{caption.caption_id}#0", idx=0, is_first=True)
    return replace(caption, sub_captions=(second,)) if is_long(caption) else caption


RECORDS: list[tuple[str, str, Callable[[Record], Record]]] = [
    # type: ignore[arg-type]
    ("span", "shifted", with_first_sub(char_start=1, content_start=1)),
    ("span", "other text", with_first_sub(text="Two red kites fly above pale dunes")),
    ("span", "after the end", with_first_sub(char_end=10_000)),
    ("span", "content_start", with_first_sub(content_start=99)),
    ("sub-caption", "sub_id", with_first_sub(sub_id=f"{KITE}/long/0#7")),
    ("sub-caption", "is_first", with_first_sub(is_first=False)),
    ("sub-caption", "is_last", with_captions(lambda c: with_is_last(c, False))),
    ("sub-caption", "idx", with_first_sub(idx=3, sub_id=f"{KITE}/long/0#3")),
    ("gap", "at the start", with_captions(without_first_sub)),
    ("gap", "at the end", with_captions(without_last_sub)),
    ("dup_of", "of itself", with_first_sub(dup_of=f"{KITE}/long/0#0")),
    ("dup_of", "of another image's", with_first_sub(dup_of=f"{TAXI}/raw/0#0")),
    ("tag", "span", with_first_tag(char_start=1)),
    ("tag", "outside its sub-caption", with_first_tag(char_start=36, char_end=38, text="No")),
    (
        "caption",
        "id",
        with_captions(lambda c: replace(c, caption_id=c.caption_id.replace(KITE, TAXI), sub_captions=())),
    ),
    (
        "caption",
        "text not normalised",
        with_captions(lambda c: replace(c, text=c.text + "\0", sub_captions=()) if c.generation == "raw" else c),
    ),
    ("caption", "source", with_captions(lambda c: replace(c, source="other:prompt"))),
    (
        "answer",
        "text",
        with_captions(lambda c: replace(c, text="An unknown text.", sub_captions=()) if is_long(c) else c),
    ),
]
"""Kind of the problem, a name, and a change of the records before they are written."""


@pytest.mark.parametrize(("kind", "name", "change"), RECORDS, ids=[f"{k}: {n}" for k, n, _ in RECORDS])
def test_wrong_records_are_found(kind: str, name: str, change: Any, remake: Any) -> None:
    problems = found(remake(change))
    assert {problem.kind for problem in problems} == set(kind.split("+")), problems


FILES: list[tuple[str, str, str, Callable[[Path], Any]]] = [
    ("tag+data", "parquet", "lemmas", in_rows("sub_captions/00000.parquet", first_row(tag_lemmas=["x"]))),
    ("answer", "parquet", "of the store", lambda b: edit_rows(output_of(b) / LONG, first_row(text="Something else."))),
    ("damaged", "parquet", "answers", lambda b: (output_of(b) / LONG).write_bytes(b"PAR1")),
    ("no answers", "parquet", "missing", lambda b: shutil.rmtree(output_of(b) / "answers")),
]
"""Kind of the problem, format, a name, and the damage to the build."""


@pytest.mark.parametrize(("kind", "format", "name", "damage"), FILES, ids=[f"{k}: {n}, {f}" for k, f, n, _ in FILES])
def test_damaged_files_are_found(kind: str, format: str, name: str, damage: Any, out: Path) -> None:
    check_found(kind, format, damage, out)


def test_other_cleaning_rules_make_a_difference_to_the_answers_a_warning(remake: Any) -> None:
    out = remake(with_captions(lambda c: replace(c, text="An unknown text.", sub_captions=()) if is_long(c) else c))
    edit_json(out / "builds/webdataset/manifest.json", lambda body: body["provenance"].update({"cleaning": "1"}))
    seal(out / "builds/webdataset")
    problems = found(out)
    assert {(problem.kind, problem.severity) for problem in problems} == {("answer", "warning")}
    assert "the build has cleaning rules 1, this recaption has" in problems[0].what


def test_other_words_for_a_caption_have_the_granularity_of_the_caption(remake: Any) -> None:
    out = remake(with_captions(lambda c: replace(c, granularity="short") if is_long(c) else c))
    assert {problem.kind for problem in found(out)} == {"caption"}
    edit_json(
        out / "builds/webdataset/manifest.json",
        lambda body: next(g for g in body["generations"] if g["id"] == "long").update({"over": ["short"]}),
    )
    seal(out / "builds/webdataset")
    assert "caption" not in {problem.kind for problem in found(out)}


def test_the_caption_of_an_answer_with_a_signed_url_has_no_signature(remake: Any) -> None:
    shown = "A sign reads https://x.test/?sig=***"
    out = remake(with_captions(lambda c: replace(c, text=shown, sub_captions=()) if is_long(c) else c))
    assert {problem.kind for problem in found(out)} == {"answer"}
    edit_rows(out / LONG, first_row(text="A sign reads https://x.test/?sig=SECRET"))
    assert found(out) == []


def test_rows_of_own_tables_need_an_existing_sub_caption(out: Path) -> None:
    build = out / "builds/parquet"
    target = schema.custom_table("extras", pa.schema([pa.field("extra", pa.string())]))
    (build / "extras").mkdir()

    def list_them(manifest: dict[str, Any]) -> None:
        for shard in manifest["shards"]:
            path = f"extras/{shard['name']}.parquet"
            subs = pq.read_table(build / f"sub_captions/{shard['name']}.parquet", columns=["sub_id", "key"])
            subs = subs.append_column("extra", pa.array(["calm"] * len(subs)))
            pq.write_table(pa.table(subs.columns, schema=target), build / path)
            entry = {"path": path, "table": "extras", "split": None, "rows": len(subs), "bytes": 0, "sha256": "0" * 64}
            shard["files"].append(entry)

    edit_json(build / "manifest.json", list_them)
    seal(build)
    assert {problem.kind for problem in found(build)} == {"views"}
    with open(build / "views.sql", "a") as views:
        views.write(
            'CREATE OR REPLACE VIEW "extras" AS '
            "SELECT * FROM read_parquet('./extras/*.parquet', union_by_name = true);"
        )
    assert found(build) == []
    in_rows("extras/00000.parquet", first_row(sub_id="unknown/raw/0#0"))(build)
    assert {problem.kind for problem in found(build)} == {"tag"}


def without_column(manifest: dict[str, Any]) -> None:
    del manifest["tables"][0]["columns"][4]


TASK_TABLES: list[tuple[str, str, Callable[[Path], Any], str]] = [
    ("row", "sub_id", in_rows(CHECKED, first_row(sub_id=f"{TAXI}/long/0#0")), "sub_id 000000005/long/0#0 is not in"),
    ("row", "key", in_rows(CHECKED, first_row(key="000000")), "its image 000000 is not usable, or missing"),
    ("row", "generation", in_rows(CHECKED, first_row(generation="x")), "its generation x is not in the"),
    ("order", "rows", in_rows(CHECKED, lambda rows: rows[::-1]), "is not sorted by key"),
    ("columns", "missing", in_table(CHECKED, lambda t: t.drop_columns(["model"])), "has 0 columns named model"),
    (
        "columns",
        "type",
        in_table(CHECKED, lambda t: t.drop_columns(["p_true"]).append_column("p_true", t["model"])),
        "ex",
    ),
    ("columns", "of another table", in_manifest(without_column), "that are not part of the format: coverage"),
    ("rows", "count", in_table(CHECKED, lambda t: t[1:]), "rows; the manifest has"),
    ("missing file", "file", lambda build: (build / CHECKED).unlink(), "is missing, or is not a file"),
]
"""Kinds of the problems, a name, the damage to a build whose sub-captions are verified, and a part of a message."""


@pytest.mark.parametrize(
    ("kind", "name", "damage", "message"), TASK_TABLES, ids=[f"{k}: {n}" for k, n, *_ in TASK_TABLES]
)
def test_damaged_tables_of_tasks_are_found(kind: str, name: str, damage: Any, message: str, out: Path) -> None:
    verify_long(out / "builds/sidecar")
    assert found(out / "builds/sidecar") == []
    check_found(kind, "sidecar", damage, out)
    assert any(message in problem.what for problem in found(out / "builds/sidecar"))


def test_rows_about_captions_and_images_are_checked(out: Path) -> None:
    scored = TableSpec(
        name="scores",
        parent="caption",
        description="a row per caption",
        columns=pa.schema([schema.column("caption_id", pa.string(), "the caption")]),
    )
    captions = lambda subs: [  # noqa: E731
        {"key": sub["key"], "generation": "check", "caption_id": sub["caption_id"]} for sub in subs if sub["is_first"]
    ]
    build = out / "builds/sidecar"
    add_table(build, captions, spec=scored)
    assert found(build) == []
    check_found("row", "sidecar", in_rows("scores/00000.parquet", first_row(caption_id="000000/long/0")), out)
    boxes = replace(scored, name="boxes", parent="image", columns=pa.schema([schema.column("x", pa.float64(), "left")]))
    build = out / "builds/parquet"
    add_table(build, lambda subs: [{"key": s["key"], "generation": "check", "x": 0.5} for s in subs], spec=boxes)
    assert found(build) == []
    check_found("row", "parquet", in_rows("boxes/00000.parquet", first_row(key="000000")), out)


def test_full_stops_between_sub_captions_may_be_dropped_by_flairs_splitter_only(remake: Any) -> None:
    def bare(sub: SubCaption) -> SubCaption:
        return replace(sub, text=sub.text.removesuffix("."), char_end=sub.char_start + len(sub.text.removesuffix(".")))

    out = remake(with_captions(lambda c: replace(c, sub_captions=tuple(map(bare, c.sub_captions)))))
    assert {problem.kind for problem in found(out)} == {"gap"}
    splitter = {"annotate": {"splitter": "flair_regex-1"}}
    edit_json(out / "builds/webdataset/manifest.json", lambda body: body["provenance"].update(splitter))
    assert found(out) == []


@pytest.mark.parametrize("format", ["sidecar", "webdataset", "parquet"])
def test_token_ids_of_another_shard_are_found(tmp_path: Path, format: str) -> None:
    write_source(tmp_path, shards=2, per_shard=3)
    output = {"path": str(tmp_path / "out"), "format": format, "token_ids": ["scene"], "holdout": {"fraction": 0.3}}
    build = build_all(answer_all(pipeline_data(tmp_path, output=output)))
    assert list(validate_output(str(build))) == []
    assert "tokens" not in (build / "views.sql").read_text()  # not a table for DuckDB
    first, second = sorted((build / "tokens" / "scene").glob("*.bin"))
    first.write_bytes(second.read_bytes()[:-3])
    kinds = {problem.kind for problem in validate_output(str(build))}
    assert "token ids" in kinds and kinds <= {"token ids", "size", "sha256"}
    first.unlink()
    assert {problem.kind for problem in validate_output(str(build))} == {"missing file"}


def test_captions_that_are_reworded_may_have_each_granularity_of_the_captions_they_are_made_of() -> None:
    long, short = {"id": "long", "kind": "long"}, {"id": "short", "kind": "short"}
    check, boxes = {"id": "check", "over": ["short"]}, {"id": "boxes", "over": ["short"]}
    zh, fixed = (
        {"id": "zh", "kind": "long", "over": ["long", "short"]},
        {"id": "fix", "kind": "long", "over": ["check"]},
    )
    crop = {"id": "crop", "kind": "region", "over": ["boxes"]}
    manifest = {"generations": [long, short, zh, fixed, crop], "tasks": [check, boxes]}
    found = {str(one["id"]): kinds_of(manifest, one) for one in manifest["generations"]}
    assert found == {
        "long": {"long"},
        "short": {"short"},
        "zh": {"long", "short"},
        "fix": {"long", "short"},
        "crop": {"region"},
    }
