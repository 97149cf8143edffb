"""Outputs on object stores: fsspec's memory, and a real S3 server."""

from __future__ import annotations

import io
from pathlib import Path

import duckdb
import fsspec
import pytest
from rich.console import Console
from s3_server import S3Server, needs_s3

from recaption.errors import UserError
from recaption.inspect import ResultFormat, connect, output_question, print_overview, run_sql
from recaption.inspect.connection import open_outputs
from recaption.inspect.paths import find
from recaption.inspect.report import write_report

from .conftest import BUILD, COUNTS, columns, count, upload, write_build, write_run


def test_views_are_those_of_the_local_output(memory: str, tmp_path: Path) -> None:
    with connect(f"{memory}/done") as there, connect(str(tmp_path / "done")) as here:
        for view, number in COUNTS.items():
            assert count(there, view) == number
            assert columns(there, view) == columns(here, view)
    with connect(f"{memory}/going") as there:
        assert (count(there, "answers"), count(there, "captions"), count(there, "rejects")) == (4, 0, 2)


def test_a_pattern_and_a_build(memory: str) -> None:
    with connect(f"{memory}/[dg]o*") as connection:
        rows = connection.execute("SELECT dataset, count(*) FROM answers GROUP BY ALL ORDER BY ALL").fetchall()
    assert rows == [("done", 4), ("going", 4)]
    with connect(f"{memory}/done/builds/{BUILD}") as connection:
        assert count(connection, "captions") == 8


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{out}/new.csv'",
        "COPY (SELECT 1) TO '{out}/CURRENT' (USE_TMP_FILE false)",
        "COPY captions TO '{out}/parts' (FORMAT parquet, PARTITION_BY (key))",
        "ATTACH '{out}/new.db' AS d",
    ],
)
def test_a_store_is_only_read(memory: str, sql: str) -> None:
    """By a wall of its own, whatever SQL is executed."""
    fs, root = fsspec.filesystem("memory"), memory.removeprefix("memory:/")
    before = {path: fs.cat_file(path) for path in fs.find(root)}
    output = find(f"{memory}/done")
    assert output.out is not None
    out = output.out.url
    with open_outputs(output) as connection:
        assert connection.execute(f"FROM glob('{out}/CURRENT')").fetchall()
        with pytest.raises(duckdb.Error):
            connection.execute(sql.replace("{out}", out))
    assert {path: fs.cat_file(path) for path in fs.find(root)} == before


@pytest.mark.parametrize(
    "sql",
    [
        "FROM read_text('{memory}/done2/secret.txt')",
        "FROM read_text('{memory}/done/../done2/secret.txt')",
        "FROM glob('{memory}/*')",
        "FROM read_text('/etc/passwd')",
        "COPY (SELECT 1) TO '{memory}/done/new.csv'",
    ],
)
def test_nothing_else_is_read_or_written(memory: str, sql: str) -> None:
    with connect(f"{memory}/done") as connection, pytest.raises(UserError):
        run_sql(connection, sql.replace("{memory}", memory))
    assert not fsspec.filesystem("memory").exists(f"{memory}/done/new.csv")


def test_one_image_and_a_report(memory: str, tmp_path: Path) -> None:
    output_question(
        [f"{memory}/done"], ["image", "a0"], ResultFormat(format="table"), Console(file=(file := io.StringIO()))
    )
    assert "A brown dog" in file.getvalue()
    written = write_report(f"{memory}/done", tmp_path / "report.html")
    assert written.built and written.samples == 6 and "feedface" in (tmp_path / "report.html").read_text("utf-8")


@needs_s3
def test_on_s3(tmp_path: Path, s3: S3Server) -> None:
    import s3fs

    (out := tmp_path / "out").mkdir()
    write_run(out)
    write_build(out)
    url = s3.bucket()
    upload(out, s3fs.S3FileSystem(), url.removeprefix("s3://"))
    with connect(url) as connection:
        assert {view: count(connection, view) for view in COUNTS} == COUNTS
        for sql in (f"FROM read_text('{url}2/x')", f"COPY (SELECT 1) TO '{url}/x.csv'"):
            with pytest.raises(UserError):
                run_sql(connection, sql)
    print_overview(url, Console(file=(file := io.StringIO()), width=100))
    assert "tiny" in file.getvalue()
    with pytest.raises(UserError, match="no such folder"):
        find(f"{url}/nowhere")
