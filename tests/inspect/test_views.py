"""The views over an output, of builds and of runs in progress, of this and of earlier versions."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption import schema
from recaption.errors import DatasetError
from recaption.inspect import connect
from recaption.inspect.views import VIEWS, _type
from recaption.resources import shipped

from .conftest import BUILD, COUNTS, FINGERPRINT, LONG, answer, columns, count, reject


@pytest.mark.parametrize("below", ["", "dataset", f"builds/{BUILD}"])
def test_views_over_an_output_and_over_a_build(dataset: Path, below: str) -> None:
    with connect(str(dataset / below)) as connection:
        assert {view: count(connection, view) for view in VIEWS} == COUNTS
        assert count(connection, "records") == 6


def test_tables_of_tasks_are_views_with_their_own_columns(verified: Path) -> None:
    with connect(str(verified)) as connection:
        names = [name for name, _ in columns(connection, "verifications")]
        assert names == ["key", "generation", "sub_id", "model", "prompt", "p_true", "coverage", "likelihood"]
    with connect(str(verified), str(verified.parent / "sidecar")) as connection:
        assert connection.execute("SELECT DISTINCT dataset FROM verifications").fetchall() == [(str(verified),)]


def test_each_unit_of_an_image_has_its_reject_until_it_is_answered(
    run_only: Path, add_part: Callable[..., None]
) -> None:
    def asked(row: dict[str, Any], unit: str) -> dict[str, Any]:
        return row | {"unit": unit, "prompt_sha256": unit[-1] * 64}

    rejects = [asked(reject("b0", "000001", 0, "unclear", "long"), f"long/0#{n}") for n in range(3)]
    add_part(run_only, "rejects", "1.000001-0000", rejects)
    add_part(run_only, "answers", "1.000002-0000", [asked(answer("b0", "yes"), "long/0#1")])
    with connect(str(run_only)) as connection:
        found = connection.execute("SELECT unit FROM rejects WHERE key = 'b0' ORDER BY 1").fetchall()
    assert found == [("long/0#0",), ("long/0#2",)]


def test_views_agree_with_each_other(dataset: Path) -> None:
    with connect(str(dataset)) as connection:
        joined = connection.execute(
            "SELECT count(*) FROM sub_captions s JOIN captions c USING (caption_id) JOIN answers a "
            "ON a.key = c.key AND a.generation = c.generation "
            "WHERE substr(c.text, s.char_start + 1, s.char_end - s.char_start) = s.text AND a.fingerprint = ?",
            [FINGERPRINT],
        ).fetchone()
        assert joined == (8,)  # every sub-caption of a long caption
        sums = connection.execute("SELECT sum(images), sum(ok + partial + reject + excluded) FROM shards").fetchone()
        assert sums == (6, 6)


def test_a_run_in_progress_has_every_view_with_the_right_columns(run_only: Path, dataset: Path) -> None:
    with connect(str(run_only)) as started, connect(str(dataset)) as built:
        assert count(started, "answers") == 4
        assert count(started, "rejects") == 2
        for view in VIEWS:
            if view != "runs":  # metrics may have more columns than the fixed ones
                assert columns(started, view) == columns(built, view), view
        assert count(started, "captions") == count(started, "shards") == 0


def test_empty_views_have_the_types_that_duckdb_reads_from_parquet(tmp_path: Path) -> None:
    tables = [schema.INDEX, schema.ANSWERS, schema.REJECTS, schema.IMAGES, schema.CAPTIONS, schema.TAGS]
    for number, table in enumerate([*tables, schema.sub_captions(["clip"]), schema.records(["clip"])]):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(table.empty_table(), path)
        read = duckdb.sql(f"SELECT * FROM '{path}'")
        assert [(n, str(t)) for n, t in zip(read.columns, read.types, strict=True)] == [
            (field.name, str(duckdb.sqltype(_type(field.type)))) for field in table
        ]


def test_columns_are_those_of_the_shipped_views_sql(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "plain"
    dataset.rename(out)  # plain DuckDB takes globs, which the fixture's name would break
    text = (shipped("schemas") / "views.sql").read_text("utf-8")
    text = text.replace("{build}", str(out / "dataset")).replace("{out}", str(out))
    (out / "metrics" / "torn.json").unlink()
    with duckdb.connect() as plain, connect(str(out)) as ours:
        plain.execute(text)
        for view in ("images", "records", "captions", "sub_captions", "tags", "rejects", "shards"):
            assert columns(ours, view) == columns(plain, view), view
            assert count(ours, view) == count(plain, view), view
        for view in ("answers", "runs"):  # ours have columns more
            assert {name for name, _ in columns(plain, view)} <= {name for name, _ in columns(ours, view)}, view


def test_parts_of_a_run_count_once(run_only: Path, add_part: Callable[..., None]) -> None:
    seen, fresh = answer("b0", LONG["b0"], 0), answer("b9", "A new one.", 9)
    add_part(run_only, "answers", "0.1-0", [seen, fresh])  # b0 is in the finished file already
    add_part(run_only, "answers", "0.2-0", [fresh])  # and a second run answered b9 again
    with connect(str(run_only)) as connection:
        rows = connection.execute("SELECT key, generation FROM answers ORDER BY key").fetchall()
    assert rows == [(key, "long") for key in ("a0", "a1", "b0", "b1", "b9")]


def test_rejects_that_were_answered_later_are_none(run_only: Path, add_part: Callable[..., None]) -> None:
    add_part(run_only, "rejects", "0.1-0", [reject("b2", "000001", 2, "repetition", "long")])
    with connect(str(run_only)) as connection:
        assert connection.execute("SELECT key FROM rejects ORDER BY key").fetchall() == [("a2",), ("b2",)]
    add_part(run_only, "answers", "0.2-0", [answer("b2", "At last.", 2)])
    with connect(str(run_only)) as connection:
        assert connection.execute("SELECT key FROM rejects").fetchall() == [("a2",)]


def test_only_parts_and_nothing_yet(tmp_path: Path, add_part: Callable[..., None]) -> None:
    (tmp_path / "index").mkdir()
    with connect(str(tmp_path)) as connection:
        assert {count(connection, view) for view in VIEWS} == {0}
    add_part(tmp_path, "answers", "0.1-0", [answer("a0", "One.")])
    with connect(str(tmp_path)) as connection:
        assert connection.execute("SELECT key, generation, fingerprint FROM answers").fetchall() == [
            ("a0", "long", FINGERPRINT)
        ]


@pytest.mark.parametrize("old", ["1.0", "1.9"])
def test_parts_of_an_older_version_lack_a_column(run_only: Path, add_part: Callable[..., None], old: str) -> None:
    """Whichever name comes first: a run went on with a newer recaption."""
    with connect(str(run_only)) as connection:
        before = count(connection, "answers")
    for name, keys in (("1.1", "xy"), ("1.2", "z")):
        add_part(run_only, "answers", f"{name}-0", [answer(key, f"Answer {key}.", row=9) for key in keys])
    part = next(path for path in run_only.rglob("*.parquet") if path.name.startswith("1.1-0"))
    aged = part.with_name(f"{old}-0.parquet")
    pq.write_table(pq.read_table(part).drop_columns(["attempts"]), aged)
    part.unlink()
    os.utime(aged, (1, 1))
    with connect(str(run_only)) as connection:
        assert count(connection, "answers") == before + 3
        rows = connection.execute("SELECT key, attempts IS NULL FROM answers WHERE key IN ('x', 'y', 'z') ORDER BY 1")
        assert rows.fetchall() == [("x", True), ("y", True), ("z", False)]


def test_answers_and_rejects_of_an_older_version(run_only: Path, dataset: Path, add_part: Callable[..., None]) -> None:
    """None of its files has a column that this version knows."""
    for out in (run_only, dataset):
        add_part(out, "answers", "0.1-0", [answer("b9", "A new one.", 9)])
        for kind, column in (("answers", "attempts"), ("rejects", "detail")):
            for path in (out / kind).rglob("*.parquet"):
                pq.write_table(pq.read_table(path).drop_columns([column]), path)
    with connect(str(run_only), str(dataset)) as connection:
        assert columns(connection, "answers")[1:] == columns(connect(str(run_only)), "answers")
        rows = connection.execute("SELECT count(*), count(attempts) FROM answers").fetchall()
        assert rows == [(10, 0)]
        rows = connection.execute("SELECT dataset, count(*), count(detail) FROM rejects GROUP BY ALL ORDER BY ALL")
        assert rows.fetchall() == [("in progress", 2, 0), (dataset.name, 2, 2)]


def test_an_older_and_a_newer_version_in_one_session(dataset: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(dataset, newer, symlinks=True)
    more: dict[str, tuple[pa.Field, Any]] = {
        "images": (pa.field("newest", pa.int16()), 6),
        "captions": (pa.field("newest", pa.list_(pa.string())), ["x"]),
        "sub_captions": (pa.field("newest", pa.bool_()), True),
    }
    for name, (field, value) in more.items():
        for path in (newer / "dataset" / name).glob("*.parquet"):
            table = pq.read_table(path)
            pq.write_table(table.append_column(field, pa.array([value] * table.num_rows, field.type)), path)
    for paths in ((dataset, newer), (newer, dataset)):
        with connect(*map(str, paths)) as connection:
            for name in more:
                rows = connection.execute(
                    f"SELECT dataset, count(newest) > 0, count(*) FROM {name} GROUP BY ALL ORDER BY ALL"
                ).fetchall()
                assert rows == [(dataset.name, False, COUNTS[name]), ("newer", True, COUNTS[name])]


def test_answers_of_an_older_version_alone_have_a_newer_column_as_null(dataset: Path) -> None:
    found = list((dataset / "answers").rglob("*.parquet"))
    for file in found:
        pq.write_table(pq.read_table(file).drop_columns(["engine_finish"]), file)
    with connect(str(dataset)) as connection:
        rows = connection.execute("SELECT DISTINCT engine_finish FROM answers").fetchall()
    assert found and rows == [(None,)]


def test_temporary_files_are_no_tables(dataset: Path) -> None:
    for folder in (dataset / "dataset" / "captions", dataset / "index"):
        (folder / ".tmp-1.parquet").write_bytes(b"half a file")
    with connect(str(dataset)) as connection:
        assert count(connection, "captions") == 8


def test_runs_skip_what_is_torn_and_keep_times(dataset: Path) -> None:
    with connect(str(dataset)) as connection:
        rows = connection.execute("SELECT run, started, finished, exit_code, captions_per_second FROM runs").fetchall()
    assert [(r[0], r[1].isoformat(), *r[2:]) for r in rows] == [("r1", "2026-01-02T03:04:05", None, None, 2.5)]


def test_runs_have_types_that_hold_what_all_of_them_say(dataset: Path) -> None:
    metrics: dict[str, dict[str, Any]] = {
        "r2": {"run": "r2", "host": None, "rate": 1, "models": {"a": {"n": 1}}, "odd": {"A": 1, "a": 2}, "a/~b": [1]},
        "r3": {"run": 3, "RUN": "again", "rate": 1.5, "models": {"b": {"n": 2}}, "updated": "2026-01-02T03:04:05Z"},
    }
    for name, content in metrics.items():
        (dataset / "metrics" / f"{name}.json").write_text(json.dumps(content))
    (dataset / "metrics" / "r4.json").write_text('{"run": "r4", "rate": NaN}')  # is no JSON
    with connect(str(dataset)) as connection:
        kinds = dict(columns(connection, "runs"))
        assert (kinds["rate"], kinds["exit_code"], kinds["updated"]) == ("DOUBLE", "BIGINT", "TIMESTAMP")
        assert (kinds["models"], kinds["odd"]) == ("STRUCT(a STRUCT(n BIGINT), b STRUCT(n BIGINT))", "JSON")
        found = connection.execute('SELECT rate, models.b.n, odd, "a/~b" FROM runs ORDER BY rate').fetchall()
    assert found == [(1.0, None, '{"A":1,"a":2}', [1]), (1.5, 2, None, None), (None, None, None, None)]


def test_newer_foreign_and_broken_files_are_refused(dataset: Path) -> None:
    path = dataset / "dataset" / "captions" / "000000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({schema.VERSION_KEY: b"2.0"}), path)
    with pytest.raises(DatasetError, match="Upgrade"):
        connect(str(dataset))
    pq.write_table(pa.table({"key": ["a"]}), path)
    with pytest.raises(DatasetError, match="not written by recaption"):
        connect(str(dataset))
    path.write_bytes(b"PAR1 nothing")
    with pytest.raises(DatasetError, match="000000"):
        connect(str(dataset))


def test_a_build_from_before_tags_had_kinds(dataset: Path) -> None:
    for path in (dataset / "dataset" / "tags").glob("*.parquet"):
        pq.write_table(pq.read_table(path).drop_columns(["kind", "plural"]), path)
    with connect(str(dataset)) as connection:
        assert count(connection, "objects") == count(connection, "tags") == COUNTS["tags"]
