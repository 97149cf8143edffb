"""Problems of the flat tables of a shard, and of keys and splits across shards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from damage import (
    KITE,
    TAXI,
    check_found,
    counts,
    edit_json,
    edit_rows,
    first_row,
    found,
    in_manifest,
    in_rows,
    seal,
    with_captions,
    with_first_sub,
)
from verified import verify_long

from recaption.types import Record


def moved(record: Record) -> Record:
    """To the other side of the holdout."""
    return replace(record, split="val" if record.split == "train" else "train") if record.key == KITE else record


def duplicate_key(build: Path) -> None:
    """The first image of the second shard, a rejected one so that it has no captions, takes a key of the first."""
    images = pq.read_table(build / "images/00001.parquet").to_pylist()
    old = next(row["key"] for row in images if row["status"] in ("reject", "excluded"))
    tables = [build / f"{name}/00001.parquet" for name in ("images", "data", "rejects")]
    for path in (*tables, build.parent.parent / "index/00001.parquet"):
        edit_rows(path, lambda items: [{**row, "key": KITE} if row["key"] == old else row for row in items])
    seal(build)


def in_both(field: str, name: str) -> Callable[[dict[str, Any]], None]:
    def change(body: dict[str, Any]) -> None:
        body[field][name] = body["shards"][0][field][name] = 1

    return change


def other_reason(rejects: list[dict[str, Any]]) -> None:
    next(row for row in rejects if row["generation"] == "short")["reason"] = "refusal"


def reject_without_image(rejects: list[dict[str, Any]]) -> None:
    rejects.append({**rejects[0], "key": "unknown", "generation": None, "stage": "build", "reason": "changed"})


RECORDS: list[tuple[str, str, Callable[[Record], Record]]] = [
    ("value", "weight", with_first_sub(weight=1.5)),
    ("value+data", "NaN weight", with_first_sub(weight=float("nan"))),
    ("value", "negative tokens", with_first_sub(n_tokens={"clip": 1})),
    ("value", "sha256", lambda r: replace(r, sha256="F" * 64) if r.status == "excluded" else r),
    ("value", "finish_reason", with_captions(lambda c: replace(c, finish_reason="unknown"))),
    ("status", "ok without an answer", lambda r: replace(r, status="ok", reason=None) if r.key == TAXI else r),
    ("status", "partial with all", lambda r: replace(r, status="partial") if r.key == KITE else r),
    ("status", "ok with a reason", lambda r: replace(r, reason="refusal") if r.key == KITE else r),
    ("status", "shard", lambda r: replace(r, shard="00001") if r.status == "excluded" else r),
    ("split", "moved", moved),
]
"""Kind of the problem, a name, and a change of the records before they are written."""


@pytest.mark.parametrize(("kind", "name", "change"), RECORDS, ids=[f"{k}: {n}" for k, n, _ in RECORDS])
def test_wrong_records_are_found(kind: str, name: str, change: Any, remake: Any) -> None:
    problems = found(remake(change))
    assert {problem.kind for problem in problems} == set(kind.split("+")), problems


FILES: list[tuple[str, str, str, Callable[[Path], Any]]] = [
    (
        "order",
        "sidecar",
        "captions",
        in_rows("captions/00000.parquet", lambda items: sorted(items, key=lambda r: r["key"], reverse=True)),
    ),
    ("duplicate key", "sidecar", "over shards", duplicate_key),
    ("split", "parquet", "smaller share", in_manifest(lambda m: m.update(holdout=0.01))),
    ("split", "sidecar", "larger share", in_manifest(lambda m: m.update(holdout=0.6))),
    ("count", "webdataset", "tags", in_manifest(counts(tags=1))),
    ("count", "webdataset", "histogram", in_manifest(in_both("distinct_texts", "77"))),
    ("count", "webdataset", "reasons", in_manifest(in_both("rejects", "poison"))),
    ("count", "webdataset", "n_texts", in_rows("images/00000.parquet", first_row(n_texts=9))),
    ("count", "webdataset", "reason of a missing answer", in_rows("rejects/00000.parquet", other_reason)),
    ("reject", "webdataset", "of no image", in_rows("rejects/00000.parquet", reject_without_image)),
]
"""Kind of the problem, format, a name, and the damage to the build."""


@pytest.mark.parametrize(("kind", "format", "name", "damage"), FILES, ids=[f"{k}: {n}, {f}" for k, f, n, _ in FILES])
def test_damaged_files_are_found(kind: str, format: str, name: str, damage: Any, out: Path) -> None:
    check_found(kind, format, damage, out)


def with_rejects(counted: int, rows: int) -> Callable[[Path], None]:
    """Adds rejects of units to the generation `check`: `counted` in the manifest, `rows` in the table."""

    def change(manifest: dict[str, Any]) -> None:
        for part in (manifest["tasks"][0], manifest["shards"][0]["generations"]["check"]):
            part["asked"] += counted
            part["rejected"] += counted
            part["rejects"] = {"unclear": counted}

    def append(items: list[dict[str, Any]]) -> None:
        head = items[0] | {"key": KITE, "source_key": KITE, "row": 0, "stage": "generate", "attempts": 3}
        items += [head | {"generation": "check", "reason": "unclear", "unit": f"long/0#{n}"} for n in range(rows)]

    def damage(build: Path) -> None:
        edit_json(build / "manifest.json", change)
        in_rows("rejects/00000.parquet", append)(build)

    return damage


TASKS: list[tuple[str, str, Callable[[Path], Any]]] = [
    ("sum+count", "asked", in_manifest(lambda body: body["tasks"][0].update(asked=99))),
    ("count", "skipped", in_manifest(lambda body: body["tasks"][0].update(skipped=99))),
    ("count", "unanswered", in_manifest(lambda body: body["tasks"][0].update(unanswered=0))),
    ("count", "more rows than units", with_rejects(counted=1, rows=2)),
    ("count", "no row", with_rejects(counted=1, rows=0)),
    ("manifest", "name of a table", in_manifest(lambda body: body["tables"][0].update(name="tags"))),
    ("manifest", "type of a column", in_manifest(lambda body: body["tables"][0]["columns"][0].update(type="map"))),
    ("manifest", "listed twice", in_manifest(lambda body: body["tables"].append(body["tables"][0]))),
    ("manifest", "another table", in_manifest(lambda body: body["tables"][0].update(name="checks"))),
]
"""Kinds of the problems, a name, and the damage to a build whose sub-captions are verified."""


@pytest.mark.parametrize(("kind", "name", "damage"), TASKS, ids=[f"{kind}: {name}" for kind, name, _ in TASKS])
def test_wrong_counts_and_tables_of_tasks_are_found(kind: str, name: str, damage: Any, out: Path) -> None:
    verify_long(out / "builds/sidecar")
    check_found(kind, "sidecar", damage, out)


def test_equal_units_of_an_image_share_their_reject(out: Path) -> None:
    build = out / "builds/sidecar"
    verify_long(build)
    with_rejects(counted=3, rows=2)(build)
    assert found(build) == []


def test_an_image_without_an_answer_of_another_task_may_be_complete(out: Path) -> None:
    """A repair makes a caption of some images only."""
    build = out / "builds/sidecar"
    verify_long(build)
    edit_rows(build / "images/00000.parquet", lambda rows: [complete(row) for row in rows])
    edit_rows(build / "data/00000.parquet", lambda rows: [complete(row) for row in rows])
    edit_json(build / "manifest.json", counts(ok=1, partial=-1))
    seal(build)
    assert {problem.kind for problem in found(build)} == {"status"}
    repair = {"task": "repair", "over": ["check"]}
    edit_json(build / "manifest.json", lambda body: body["generations"][1].update(repair))
    assert found(build) == []


def complete(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"status": "ok", "reason": None} if row["status"] == "partial" else row


def test_val_has_to_be_a_share_of_the_images_of_all_shards(remake: Any) -> None:
    """Each shard is consistent alone: the whole second shard is val."""
    out = remake(lambda record: replace(record, split="val" if record.shard == "00001" else record.split))
    (problem,) = found(out)
    assert problem.kind == "split" and "is val, though its sha256 is not within" in problem.what
    edit_json(out / "builds/webdataset/manifest.json", lambda body: body.pop("holdout"))
    (problem,) = found(out)
    assert problem.kind == "split" and "which is train, has a lower sha256" in problem.what
