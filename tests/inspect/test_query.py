from __future__ import annotations

import hashlib
from pathlib import Path

import duckdb
import pytest

from recaption.errors import UserError
from recaption.inspect import connect, run_sql
from recaption.inspect.connection import open_outputs
from recaption.inspect.paths import find
from recaption.inspect.query import arrow_sql


@pytest.mark.parametrize(
    ("sql", "rows"),
    [
        ("SELECT count(*) FROM captions", ((8,),)),
        ("FROM tags SELECT lemma WHERE lemma = 'cat';", (("cat",),)),
        ("WITH t AS (SELECT lemma FROM tags) SELECT count(DISTINCT lemma) FROM t", ((7,),)),
        ("SELECT 1 UNION ALL SELECT 2 ORDER BY 1", ((1,), (2,))),
        ("WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 3) SELECT max(i) FROM n", ((3,),)),
        ("VALUES (1)", ((1,),)),
        ("/* EXPLAIN */ SELECT 'COPY; DROP'  -- INSERT", (("COPY; DROP",),)),
        ("PIVOT (SELECT status FROM images) ON status IN ('ok', 'reject') USING count(*)", ((4, 2),)),
        ("SELECT unnest(tag_lemmas) FROM sub_captions WHERE sub_id = 'a0/long/0#1'", (("dog",), ("ball",))),
        ("SELECT count(*) FROM query_table('captions')", ((8,),)),
        ("SELECT 'query' AS query", (("query",),)),
    ],
)
def test_queries_that_read(dataset: Path, sql: str, rows: tuple[object, ...]) -> None:
    with connect(str(dataset)) as connection:
        answer = run_sql(connection, sql)
    assert answer.rows == rows
    assert answer.total == len(rows)


@pytest.mark.parametrize("sql", ["DESCRIBE captions", "SUMMARIZE tags", "SHOW TABLES", "EXPLAIN FROM tags"])
def test_statements_about_the_data(dataset: Path, sql: str) -> None:
    with connect(str(dataset)) as connection:
        assert run_sql(connection, sql).rows


def test_explain_analyze_of_a_query(dataset: Path) -> None:
    with connect(str(dataset)) as connection:
        assert "tags" in str(run_sql(connection, "EXPLAIN ANALYZE SELECT count(*) FROM tags").rows).lower()
        assert run_sql(connection, "EXPLAIN (ANALYZE, FORMAT JSON) SELECT count(*) FROM tags").rows


def fingerprint(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


COPY_AS_JSON = "json_serialize_sql('WITH x AS (COPY (SELECT 1) TO ''/tmp/recaption-new.csv'') SELECT 1')"
FORBIDDEN = [
    "COPY (SELECT 1) TO '{out}/new.csv'",
    "COPY captions TO '{out}/dataset/captions/000000.parquet'",
    "COPY (SELECT 1) TO '/tmp/elsewhere.csv'",
    "WITH x AS (COPY (SELECT 1) TO '{out}/new.csv') SELECT 1",
    "SELECT * FROM query('WITH x AS (COPY (SELECT 1) TO ''{out}/new.csv'') SELECT 1')",
    "SELECT * FROM query('SELECT 7')",
    f"FROM json_execute_serialized_sql({COPY_AS_JSON})",
    f'FROM system.main."JSON_execute_serialized_sql"({COPY_AS_JSON})',
    "FROM query('FROM json_execute' || '_serialized_sql(1)')",
    "SELECT (WITH x AS (COPY (SELECT 1) TO '{out}/new.csv') SELECT 1)",
    "WITH x AS (INSERT INTO captions FROM captions RETURNING *) FROM x",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}/new.csv'",
    "EXPLAIN (ANALYZE) COPY (SELECT 1) TO '{out}/new.csv'",
    "/**/ EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}/new.csv'",
    "EXPLAIN ANALYZE WITH x AS (COPY (SELECT 1) TO '{out}/new.csv') SELECT 1",
    "SELECT 1; COPY (SELECT 1) TO '{out}/new.csv'",
    "EXPORT DATABASE '{out}/export'",
    "ATTACH '{out}/new.db' AS other",
    "ATTACH ':memory:' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "CREATE TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW captions AS SELECT 1",
    "DROP VIEW captions",
    "INSERT INTO captions SELECT * FROM captions",
    "SET enable_external_access = true",
    "SET allowed_directories = ['/']",
    "RESET lock_configuration",
    "PRAGMA threads = 4",
    "CALL pragma_version()",
    "USE other",
    "BEGIN",
    "CHECKPOINT",
    "PREPARE p AS SELECT 1",
    "PIVOT images ON status USING count(*)",
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT content FROM read_text('/etc/passwd')",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM read_text('{out}/../outside.txt')",
    "SELECT * FROM read_text('{out}2/outside.txt')",
    "SELECT * FROM read_csv('https://example.com/x.csv')",
    "SELECT * FROM read_parquet('s3://bucket/x.parquet')",
    "FROM '/etc/passwd'",
    "FROM read_blob('file:///etc/passwd')",
    "FROM read_json('/etc/*')",
    "FROM sniff_csv('/etc/passwd')",
    "FROM parquet_metadata('/etc/passwd')",
    "FROM read_duckdb('{out}/../x.db')",
    "FROM read_text(['{out}/metrics/r1.json', '/etc/passwd'])",
    "FROM glob('{out}/../*')",
    "FROM enable_logging(storage = 'file', storage_path = '{out}/logs')",
    "FROM enable_profiling(save_location = '{out}/profile.json')",
    "FROM read_csv('http://127.0.0.1:9/x.csv')",
    "SELECT getenv('HOME')",
    "CREATE SECRET s (TYPE s3)",
    "CREATE MACRO f() AS 1",
    "EXECUTE p",
    "SET VARIABLE a = 1",
    "VACUUM",
    "COMMENT ON VIEW captions IS 'x'",
    "UPDATE captions SET text = ''",
    "DELETE FROM captions",
    "MERGE INTO captions USING captions ON true WHEN MATCHED THEN DELETE",
    "IMPORT DATABASE '{out}'",
    "",
    "  -- nothing",
]


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_whatever_does_more_than_read_the_output_is_refused(dataset: Path, sql: str) -> None:
    (dataset.parent / "outside.txt").write_text("secret")
    beside = dataset.with_name(dataset.name + "2")
    beside.mkdir()
    (beside / "outside.txt").write_text("secret")
    before = fingerprint(dataset.parent)
    with connect(str(dataset)) as connection:
        with pytest.raises(UserError) as caught:
            run_sql(connection, sql.replace("{out}", str(dataset).replace("'", "''")))
        assert "captions" in str(caught.value)  # the views, or an example, are named
        assert run_sql(connection, "SELECT count(*) FROM captions").rows == ((8,),)
    assert fingerprint(dataset.parent) == before
    assert not (dataset / "export").exists()


@pytest.mark.parametrize("call", ["query('SELECT 1')", f"json_execute_serialized_sql({COPY_AS_JSON})"])
def test_functions_that_run_texts_say_why_not(dataset: Path, call: str) -> None:
    with connect(str(dataset)) as connection, pytest.raises(UserError, match="runs SQL from a string"):
        run_sql(connection, f"SELECT count(*) FROM {call}")


def test_duckdbs_own_connection_reads_nothing_else(dataset: Path) -> None:
    with open_outputs(find(str(dataset))) as connection:
        for sql in ("SELECT * FROM read_text('/etc/passwd')", "INSTALL httpfs", "COPY (SELECT 1) TO '/tmp/x.csv'"):
            with pytest.raises(duckdb.Error, match=r"disabled"):
                connection.execute(sql)
        with pytest.raises(duckdb.Error, match="locked"):
            connection.execute("SET allowed_directories = ['/']")


@pytest.mark.skipif(duckdb.__version__ < "2", reason="older DuckDBs follow links out of an allowed folder")
@pytest.mark.parametrize("link", ["link.txt", "link/outside.txt", "link/*"])
def test_links_out_of_the_output_are_not_followed(dataset: Path, tmp_path: Path, link: str) -> None:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "outside.txt").write_text("secret")
    out = dataset.rename(tmp_path / "plain")  # a name that is no pattern
    (out / "link.txt").symlink_to(tmp_path / "beside" / "outside.txt")
    (out / "link").symlink_to(tmp_path / "beside")
    with connect(str(out)) as connection, pytest.raises(UserError, match="disabled"):
        run_sql(connection, f"FROM read_text('{out}/{link}')")


def test_python_variables_are_no_tables(dataset: Path) -> None:
    with connect(str(dataset)) as connection:
        secret = duckdb.sql("SELECT 1 AS secret")  # noqa: F841
        with pytest.raises(UserError, match="secret"):
            run_sql(connection, "SELECT * FROM secret")


def test_errors_say_what_there_is(dataset: Path) -> None:
    with connect(str(dataset)) as connection:
        with pytest.raises(UserError) as caught:
            run_sql(connection, "SELECT * FROM caption")
        assert "caption" in str(caught.value)
        assert "sub_captions, objects, tags" in str(caught.value)
        with pytest.raises(UserError, match="syntax error"):
            run_sql(connection, "SELEKT 1")


def test_errors_quote_hostile_data_safely(dataset: Path) -> None:
    with connect(str(dataset)) as connection, pytest.raises(UserError) as caught:
        run_sql(connection, "SELECT text::INTEGER FROM captions WHERE caption_id = 'a1/long/0'")
    assert "dog" in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("sql", ["SELECT b'\u00ff'", "SELECT 'x', b'caf\u00e9' FROM images"])
def test_errors_that_quote_a_part_of_a_character_are_shown(dataset: Path, sql: str) -> None:
    with connect(str(dataset)) as connection:
        for call in (run_sql, arrow_sql):
            with pytest.raises(UserError, match="Views: images"):
                call(connection, sql)


def test_rows_beyond_the_limit_are_counted_to_a_point(dataset: Path) -> None:
    with connect(str(dataset)) as connection:
        answer = run_sql(connection, "SELECT range AS i FROM range(1000)", limit=7)
        assert (answer.rows, answer.total) == (tuple((i,) for i in range(7)), 1000)
        assert run_sql(connection, "FROM range(300000)", limit=5).total is None
        assert len(run_sql(connection, "FROM range(20001)", limit=None).rows) == 20001
        assert run_sql(connection, "FROM range(10)", limit=10).total == 10


def test_what_does_not_fit_into_memory_can_be_sorted(dataset: Path) -> None:
    with connect(str(dataset)) as connection:
        spill = connection.execute("SELECT current_setting('temp_directory')").fetchone()
        assert spill is not None
        assert "recaption-inspect-" in spill[0]
        assert not Path(spill[0]).exists()
