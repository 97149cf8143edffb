from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from recaption.errors import UserError
from recaption.inspect import ResultFormat, output_question, output_sql, show_sql

from .conftest import write_build, write_run

TEXTS = "SELECT key, text FROM captions WHERE generation = 'long' ORDER BY key"


def console(*, terminal: bool = False, width: int = 90) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)


def seen(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


@pytest.fixture
def two(tmp_path: Path) -> list[str]:
    """A finished output and one in progress."""
    for name in ("done", "going"):
        (tmp_path / name).mkdir()
        write_run(tmp_path / name)
    write_build(tmp_path / "done")
    return [str(tmp_path / "done"), str(tmp_path / "going")]


def test_a_pipe_gets_all_rows_and_a_terminal_the_first(dataset: Path) -> None:
    output_sql([str(dataset)], "SELECT range AS i FROM range(200)", ResultFormat(), out := console())
    assert len(seen(out).splitlines()) == 201
    output_sql([str(dataset)], "SELECT range AS i FROM range(200)", ResultFormat(), out := console(terminal=True))
    assert seen(out).splitlines()[-1] == "first 50 of 200 rows"
    output_sql([str(dataset)], "SELECT range AS i FROM range(200)", ResultFormat(format="table"), out := console())
    assert seen(out).splitlines()[-1] == "200 rows"
    output_sql([str(dataset)], "SELECT range AS i FROM range(200)", ResultFormat(limit=2), out := console())
    assert seen(out) == "i\n0\n1\n"


def test_files_by_suffix(dataset: Path, tmp_path: Path) -> None:
    output_sql([str(dataset)], TEXTS, ResultFormat(file=tmp_path / "x.parquet", limit=3), console())
    assert pq.read_table(tmp_path / "x.parquet").num_rows == 3
    output_sql([str(dataset)], TEXTS, ResultFormat(file=tmp_path / "x.jsonl"), console())
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text("utf-8").splitlines()]
    assert "\x1b[31m" in rows[1]["text"]  # as it is stored
    output_sql([str(dataset)], TEXTS, ResultFormat(file=tmp_path / "x.txt", format="table"), console())
    assert "\x1b" not in (tmp_path / "x.txt").read_text("utf-8")


def test_files_that_are_refused(dataset: Path, tmp_path: Path) -> None:
    inside = dataset / "dataset" / "captions" / "000000.parquet"
    before = inside.read_bytes()
    for file, why in ((inside, "never changes"), (tmp_path, "is a folder"), (tmp_path / "x.xlsx", "--format")):
        with pytest.raises(UserError, match=why):
            output_sql([str(dataset)], TEXTS, ResultFormat(file=file), console())
    with pytest.raises(UserError, match="-o FILE"):
        output_sql([str(dataset)], TEXTS, ResultFormat(format="parquet"), console(terminal=True))
    with pytest.raises(UserError, match="syntax error"):
        output_sql([str(dataset)], "SELEKT", ResultFormat(file=tmp_path / "y.csv"), console())
    assert inside.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {dataset.name}


def test_a_query_that_fails_midway_leaves_no_file(dataset: Path, tmp_path: Path) -> None:
    sql = "SELECT CASE WHEN range = 150000 THEN error('boom') ELSE range END AS i FROM range(200000)"
    with pytest.raises(UserError, match="boom"):
        output_sql([str(dataset)], sql, ResultFormat(file=tmp_path / "x.csv"), console())
    assert not [path for path in tmp_path.iterdir() if path.name.endswith("x.csv")]


def test_questions_over_several_outputs(two: list[str]) -> None:
    output_question(two, ["rejects"], ResultFormat(format="json"), out := console())
    rows = [json.loads(line) for line in seen(out).splitlines()]
    assert {row["dataset"] for row in rows} == {"done", "going"}
    output_question(two, ["coverage"], ResultFormat(), out := console(terminal=True))
    assert "done\n" in seen(out) and "going\nImages by" in seen(out)
    assert "there are no usable images yet" in seen(out)


@pytest.mark.parametrize("name", ["image", "similar"])
@pytest.mark.parametrize("format", [None, "csv", "json", "table", "parquet"])
def test_a_key_that_nobody_knows(two: list[str], name: str, format: str | None) -> None:
    for paths, why in ((two[:1], "done has no image"), (two, "done and 1 more output has no image")):
        with pytest.raises(UserError, match=f"{why} with the key 'nope'. Keys: recaption inspect"):
            output_question(paths, [name, "nope"], ResultFormat(format=format), out := console())
        assert seen(out) == ""


def test_a_key_that_some_outputs_know(two: list[str]) -> None:
    images = Path(two[0]) / "dataset" / "images" / "000001.parquet"
    table = pq.read_table(images)
    renamed = ["dir/b0.jpg" if key == "b0" else key for key in table["key"].to_pylist()]
    place = table.schema.get_field_index("source_key")
    pq.write_table(table.set_column(place, table.schema.field(place), [renamed]), images)
    output_question(two, ["image", "dir/b0.jpg"], ResultFormat(format="json"), out := console())
    rows = [json.loads(line) for line in seen(out).splitlines()]
    assert {(row["dataset"], row["sub_id"].split("/")[0]) for row in rows} == {("done", "b0")}
    output_question(two, ["image", "b0"], ResultFormat(), out := console(terminal=True))
    assert "done\nb0\n" in seen(out) and "going\nb0\n" in seen(out)


def test_sql_on_standard_input(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def typed(data: bytes) -> str:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), "ascii"))
        output_sql([str(dataset)], "-", ResultFormat(), out := console())
        return seen(out)

    assert typed(b"\xef\xbb\xbfSELECT 'caf\xc3\xa9' AS word") == "word\ncafé\n"
    for data, why in ((b"SELECT '\xff'", "not UTF-8"), ("SELECT 1".encode("utf-16-le"), "NUL character")):
        with pytest.raises(UserError, match=why):
            typed(data)


def test_sql_over_several_outputs(two: list[str]) -> None:
    sql = "SELECT dataset, count(*) AS n FROM answers GROUP BY ALL ORDER BY ALL"
    output_sql(two, sql, ResultFormat(), out := console())
    assert seen(out) == "dataset\tn\ndone\t4\ngoing\t4\n"


def test_limits_of_questions(dataset: Path) -> None:
    output_question([str(dataset)], ["tags"], ResultFormat(limit=2), out := console())
    assert len(seen(out).splitlines()) == 3
    output_question([str(dataset)], ["lengths"], ResultFormat(limit=2), out := console())
    assert len(seen(out).splitlines()) == 3


@pytest.mark.parametrize(
    ("words", "why"),
    [(["tags", "dog"], "no key"), (["image"], "KEY"), (["image", "a", "b"], "one key"), (["x"], "all")],
)
def test_wrong_words(dataset: Path, words: list[str], why: str) -> None:
    with pytest.raises(UserError, match=why):
        output_question([str(dataset)], words, ResultFormat(), console())


def test_the_sql_of_a_question_can_be_run(dataset: Path) -> None:
    show_sql(["similar", "a0"], 5, out := console())
    output_sql([str(dataset)], seen(out), ResultFormat(), answered := console())
    output_question([str(dataset)], ["similar", "a0"], ResultFormat(limit=5), asked := console())
    assert seen(answered) == seen(asked) != ""
    show_sql(["tags"], None, out := console(terminal=True, width=200))
    assert "FROM objects GROUP BY lemma" in seen(out)


@pytest.mark.parametrize("value", ["'infinity'::DATE", "[TIMESTAMP '-infinity']", "DATE '290309-12-22 (BC)'"])
@pytest.mark.parametrize("format", [None, "json"])
def test_values_that_python_has_no_place_for(dataset: Path, value: str, format: str | None) -> None:
    with pytest.raises(UserError, match="column::VARCHAR"):
        output_sql([str(dataset)], f"SELECT {value} AS v", ResultFormat(format=format), console())
    output_sql([str(dataset)], f"SELECT ({value})::VARCHAR AS v", ResultFormat(format=format), console())


def test_unsafe_lifts_the_locks(dataset: Path, tmp_path: Path) -> None:
    copy = f"COPY (SELECT 1 AS one) TO '{tmp_path}/copy.csv'"
    with pytest.raises(UserError, match="only reads"):
        output_sql([str(dataset)], copy, ResultFormat(), console())
    output_sql([str(dataset)], copy, ResultFormat(unsafe=True), console())
    assert (tmp_path / "copy.csv").read_text() == "one\n1\n"
    output_sql([str(dataset)], f"FROM read_csv('{tmp_path}/copy.csv')", ResultFormat(unsafe=True), out := console())
    assert seen(out) == "one\n1\n"
    output_sql([str(dataset)], "SET threads = 1", ResultFormat(unsafe=True, format="csv"), console())
