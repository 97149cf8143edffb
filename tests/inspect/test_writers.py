from __future__ import annotations

import csv
import io
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from recaption.errors import UserError
from recaption.inspect import connect
from recaption.inspect.paths import find
from recaption.inspect.query import arrow_sql
from recaption.inspect.writers import atomic_file, check_outside, format_of, head, open_bytes, open_text, write_batches

KINDS = (
    "SELECT 1 AS a, 2 AS a, sum(range) AS total, 1.5 AS d, 'x'::BLOB AS b, [1, NULL] AS l, {'a': 'q\"'} AS s, "
    "MAP {'k': 1} AS m, 'v'::ENUM('v') AS e, TIMESTAMP '2026-01-02 03:04:05' AS t, INTERVAL 3 DAY AS i, "
    "170141183460469231731687303715884105727::HUGEINT AS h, NULL AS n, '' AS empty, NULL::VARCHAR AS nothing "
    "FROM range(3)"
)
HOSTILE = "SELECT 'a' || chr(27) || '[31mb' || chr(8238) || 'c' AS text, 'x' || chr(10) || 'y' AS two"


def written(dataset: Path, sql: str, format: str, *, terminal: bool = False) -> bytes:
    sink = io.BytesIO()
    with connect(str(dataset)) as connection:
        write_batches(*arrow_sql(connection, sql), sink, format, terminal=terminal)
    return sink.getvalue()


def test_json_is_an_object_a_line(dataset: Path) -> None:
    (line,) = written(dataset, KINDS, "json").decode().splitlines()
    assert json.loads(line) == {
        **{"a": 1, "a_1": 2, "total": 3, "d": 1.5, "b": "eA==", "l": [1, None], "s": {"a": 'q"'}, "m": [["k", 1]]},
        **{"e": "v", "t": "2026-01-02T03:04:05", "i": "0 months 3 days 0 seconds", "n": None, "empty": ""},
        **{"h": "170141183460469231731687303715884105727", "nothing": None},
    }


def test_csv_keeps_null_and_the_empty_text_apart(dataset: Path) -> None:
    text = written(dataset, KINDS, "csv").decode()
    assert text.splitlines()[1].endswith(',,"",')
    names, values = csv.reader(io.StringIO(text))
    row = dict(zip(names, values, strict=True))
    assert row["a_1"] == "2" and row["total"] == "3" and row["s"] == '{"a":"q\\""}' and row["b"] == "eA=="


def test_parquet_keeps_types(dataset: Path) -> None:
    table = pq.read_table(io.BytesIO(written(dataset, "SELECT key, tag_lemmas FROM sub_captions", "parquet")))
    assert table.num_rows == 12
    assert pa.types.is_list(table.schema.field("tag_lemmas").type)
    with pytest.raises(UserError, match="VARCHAR"):
        written(dataset, "SELECT INTERVAL 1 DAY AS i", "parquet")


@pytest.mark.parametrize("format", ["csv", "json", "lines", "parquet"])
def test_an_answer_without_rows(dataset: Path, format: str) -> None:
    data = written(dataset, "SELECT key, tag_lemmas FROM sub_captions WHERE false", format)
    expected = {"csv": b'"key","tag_lemmas"\n', "json": b"", "lines": b"key\ttag_lemmas\n"}
    assert data == expected[format] if format in expected else pq.read_table(io.BytesIO(data)).num_rows == 0


def test_data_stays_data_but_on_terminals(dataset: Path) -> None:
    stored = "a\x1b[31mb\u202ec"
    assert json.loads(written(dataset, HOSTILE, "json"))["text"] == stored
    assert list(csv.reader(io.StringIO(written(dataset, HOSTILE, "csv").decode())))[1] == [stored, "x\ny"]
    for format in ("json", "csv", "lines"):
        seen = written(dataset, HOSTILE, format, terminal=True).decode()
        assert "\x1b" not in seen and "\u202e" not in seen
    assert written(dataset, HOSTILE, "csv", terminal=True) == b'"text","two"\n"abc","x\ny"\n'


def test_lines_are_for_cut_and_sort(dataset: Path) -> None:
    text = written(dataset, "SELECT range AS i, NULL AS x, 'a\tb\n[i]c' AS y FROM range(200)", "lines").decode()
    assert text.splitlines()[:2] == ["i\tx\ty", "0\t\ta b [i]c"]
    assert len(text.splitlines()) == 201


def test_memory_stays_flat(dataset: Path) -> None:
    class Counts(io.BytesIO):
        size = 0

        def write(self, data: Any) -> int:
            self.size += len(data)
            return len(data)

    peaks = []
    with connect(str(dataset)) as connection:
        for rows in (60_000, 400_000):
            sql = f"SELECT range AS i, repeat('x', 90) AS text FROM range({rows})"
            sink = Counts()
            pa_before = pa.total_allocated_bytes()
            tracemalloc.start()
            assert write_batches(*arrow_sql(connection, sql, rows=5000), sink, "csv") == rows
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert sink.size > 90 * rows
            assert pa.total_allocated_bytes() - pa_before < 10_000_000
    assert peaks[1] < 1.5 * peaks[0] + 1_000_000


def test_only_the_first_rows() -> None:
    batches = [pa.record_batch({"i": [1, 2]}), pa.record_batch({"i": [3, 4]}), pa.record_batch({"i": [5]})]
    for limit, rows in ((1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (None, [1, 2, 3, 4, 5]), (9, [1, 2, 3, 4, 5])):
        found = [value for batch in head(iter(batches), limit) for value in batch.column("i").to_pylist()]
        assert found == rows


def test_the_suffix_names_the_format() -> None:
    names = ["a.csv", "a.json", "a.jsonl", "a.PARQUET"]
    assert [format_of(Path(name)) for name in names] == ["csv", "json", "json", "parquet"]
    with pytest.raises(UserError, match="--format"):
        format_of(Path("a.xlsx"))


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("before")
    with pytest.raises(RuntimeError), atomic_file(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert (path.read_text(), [p.name for p in tmp_path.iterdir()]) == ("before", ["x.csv"])
    with atomic_file(path) as file:
        file.write(b"whole")
    assert (path.read_text(), [p.name for p in tmp_path.iterdir()]) == ("whole", ["x.csv"])
    with pytest.raises(UserError, match="cannot write"), atomic_file(tmp_path / "nowhere" / "x.csv"):
        pass


def test_files_in_the_output_are_refused_however_they_are_named(dataset: Path, tmp_path: Path) -> None:
    output = find(str(dataset))
    (tmp_path / "link").symlink_to(dataset)
    for inside in (dataset / "x.csv", dataset / "new" / "x.csv", tmp_path / "link" / "x.csv"):
        with pytest.raises(UserError, match="never changes"):
            check_outside(inside, [output])
    check_outside(tmp_path / "x.csv", [output])


def test_consoles_and_files(tmp_path: Path) -> None:
    with open_text(tmp_path / "x.txt", Console()) as out:
        out.print("é")
    assert (tmp_path / "x.txt").read_text("utf-8") == "é\n"
    behind = io.BytesIO()
    with open_bytes(None, Console(file=io.TextIOWrapper(behind, "utf-8"))) as sink:
        sink.write(b"a")
    with open_bytes(None, Console(file=(text := io.StringIO()))) as sink:
        sink.write("é".encode())
    assert text.getvalue() == "é"
