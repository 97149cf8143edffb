"""No SQL writes: what is refused, what is executed, and thousands of statements that try to get round it."""

from __future__ import annotations

import random
import string
from pathlib import Path
from typing import Any

import duckdb
import pytest

from recaption.errors import UserError
from recaption.inspect import connect, run_sql
from recaption.inspect.connection import open_outputs
from recaption.inspect.paths import find
from recaption.inspect.query import arrow_sql
from recaption.inspect.statements import read_statement

WRITING = "WITH c AS (COPY images TO '{out}/pipeline.yaml') SELECT 1"


def written(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_size, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN ANALYZE (WITH c AS (COPY images TO '{out}/pipeline.yaml' --) SELECT 1 /*\n) SELECT * FROM c) --*/",
        f"EXPLAIN ANALYZE /* ( */ {WRITING} -- )",
        f"EXPLAIN -- ANALYZE\nANALYZE ({WRITING})",
        f"EXPLAIN (FORMAT json, ANALYZE) {WRITING}",
        f"EXPLAIN (ANALYZE /* ) */) {WRITING}",
        f"EXPLAIN (SUMMARIZE ({WRITING}))",
        f"EXPLAIN ANALYZE FROM (DESCRIBE {WRITING})",
        f"SUMMARIZE {WRITING}",
        f"SELECT (FROM ({WRITING}))",
        "EXPLAIN (ANALYZE",
        "EXPLAIN (ANALYZE)",
        "EXPLAIN",
        "EXPLAIN ANALYZE",
        "EXPLAIN ANALYZE EXECUTE p",
        "UPDATE EXTENSIONS",
        "SELECT 1 \0; COPY images TO '{out}/pipeline.yaml'",
        "SELECT '\udcff'",
        "\ufeff\ud800",
        "FROM python_map_function(1)",
        "FROM pandas_scan(1)",
        "FROM checkpoint()",
        "FROM read_duckdb('{out}/x.duckdb')",
        "SELECT " + "NOT " * 5000 + "true",
        "SELECT " + "[" * 2000 + "]" * 2000,
    ],
)
def test_refused(dataset: Path, sql: str) -> None:
    (dataset / "pipeline.yaml").write_text("name: mine\n")
    before = written(dataset.parent)
    sql = sql.replace("{out}", str(dataset).replace("'", "''"))
    with connect(str(dataset)) as connection:
        with pytest.raises(UserError):
            run_sql(connection, sql)
        with pytest.raises(UserError):
            arrow_sql(connection, sql)
        with pytest.raises((UserError, duckdb.Error)):
            connection.execute(sql)
        with pytest.raises((UserError, duckdb.Error)):
            connection.sql(sql)
    assert written(dataset.parent) == before


@pytest.mark.parametrize(
    "sql",
    [
        "EXPLAIN SELECT 1",
        "explain /* of (this) */ analyze select count(*) from captions -- all",
        "EXPLAIN (FORMAT JSON, ANALYZE) SELECT 'é' || text FROM captions",
        "EXPLAIN (ANALYZE) (SELECT 1)",
        "EXPLAIN (SELECT 1)",
        "EXPLAIN (FORMAT json) WITH t AS (SELECT 1) FROM t;",
        "/* ; */ ; SELECT 1 ;",
        "SELECT * FROM images JOIN captions USING (key), range(3), (VALUES (1)) v ORDER BY ALL LIMIT 10%",
        "FROM images SEMI JOIN (FROM captions TABLESAMPLE 100%) USING (key)",
        "UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b",
        "SELECT list_filter([1, 2], lambda x: x > 1)::DECIMAL(3, 1)[], sum(n_words) OVER (ORDER BY key) FROM captions",
        "FROM json_each('[1]')",
        "FROM duckdb_settings()",
        "FROM histogram(captions, n_words)",
        "SHOW ALL TABLES",
        "SELECT " + " + ".join("1" for _ in range(150)),
        "SELECT " + " OR ".join("true" for _ in range(900)),
    ],
)
def test_executed(dataset: Path, sql: str) -> None:
    with connect(str(dataset)) as connection:
        assert run_sql(connection, sql).rows
        assert connection.execute(sql).fetchall()


def test_what_was_checked_is_what_is_executed(dataset: Path) -> None:
    with open_outputs(find(str(dataset))) as connection:
        statement = read_statement(connection, "EXPLAIN /* ( */ ANALYZE /* ) */ SELECT 1")
        assert isinstance(statement, duckdb.Statement)
        assert statement.query == "EXPLAIN (ANALYZE) SELECT 1"


def test_the_connection_of_python_only_reads(dataset: Path) -> None:
    with connect(str(dataset)) as connection:
        assert connection.execute("SELECT count(*) FROM captions WHERE generation = ?", ["long"]).fetchone() == (4,)
        assert connection.sql("SELECT 1 AS one").columns == ["one"]
        with connection.cursor() as cursor, pytest.raises(UserError, match="COPY statement"):
            cursor.execute("COPY (SELECT 1) TO 'x.csv'")
        with pytest.raises(AttributeError, match="unsafe=True"):
            _ = connection.executemany
    with connect(str(dataset), unsafe=True) as own:
        assert isinstance(own, duckdb.DuckDBPyConnection)


def test_a_kind_of_statement_without_a_name(dataset: Path) -> None:
    with connect(str(dataset)) as connection, pytest.raises(UserError, match="only reads"):
        run_sql(connection, "UPDATE EXTENSIONS" if duckdb.__version__ >= "2" else "CHECKPOINT")


def test_values_are_text_that_can_be_stored(dataset: Path) -> None:
    with connect(str(dataset)) as connection, pytest.raises(UserError, match="not UTF-8"):
        run_sql(connection, "SELECT $key", values={"key": "\udcff"})


PAYLOADS = [
    "COPY images TO '{out}/pipeline.yaml'",
    "COPY (SELECT 1) TO '{out}/new.csv' (FORMAT csv)",
    "COPY captions TO '{out}/new.parquet'",
    "INSERT INTO captions FROM captions RETURNING *",
    "DELETE FROM runs RETURNING *",
    "CREATE TABLE t AS SELECT 1",
    "EXPORT DATABASE '{out}/all'",
    "ATTACH '{out}/new.db' AS d",
    "SET lock_configuration = false",
    "INSTALL httpfs",
    "UPDATE EXTENSIONS",
    "CALL enable_logging(storage = 'file', storage_path = '{out}/logs')",
    "FROM enable_profiling(save_location = '{out}/profile.json')",
    "FROM query('COPY images TO ''{out}/new.csv''')",
    "PRAGMA profiling_output = '{out}/profile.json'",
    "SELECT count(*) FROM images",
    "FROM captions",
    "VALUES (1)",
]
COMMENTS = ["", " ", "\n", "/**/", "/* ( */", "/* ) */", "-- x\n", "--\n", "/* -- */", "/*\n*/", "-- /*\n", "\t\r\n"]
EXPLAINS = [
    "EXPLAIN ANALYZE {s}",
    "EXPLAIN{c}ANALYZE{c}({s}{c})",
    "EXPLAIN (ANALYZE{c}){s}",
    "EXPLAIN (ANALYZE, FORMAT{c}json) {s}",
    "EXPLAIN (FORMAT text{c}, ANALYZE) {s}",
    "EXPLAIN {s}",
]
HIDDEN = [  # from who takes a parenthesis in a comment for one
    "(WITH c AS ({s} --) SELECT 1 /*\n) FROM c) --*/",
    "({s} /*) SELECT 1 --*/)",
    "(--) SELECT 1 /*\n{s}) --*/",
    "(FORMAT /*) SELECT 1 --*/ json) {s}",
]
AROUND = [
    *EXPLAINS,
    *HIDDEN,
    "WITH c AS {c}({s}{c}) SELECT 1",
    "WITH c AS MATERIALIZED ({s}{c}) FROM c",
    "WITH c AS ({s} --) SELECT 1 /*\n) SELECT * FROM c --*/",
    "WITH c AS (SELECT 1 --) {s}\n) FROM c",
    "({s} --) SELECT 1 /*\n) --*/",
    "SELECT (WITH c AS ({s}{c}) SELECT 1)",
    "SELECT * FROM ({s}{c})",
    "FROM (SELECT 1) JOIN LATERAL ({s}{c}) ON true",
    "SELECT 1 UNION ALL ({s}{c})",
    "{c}({s}{c}){c}",
    "SELECT 1; {s}",
    "{s}; SELECT 1",
    ";{c}; {s}",
    "SUMMARIZE {s}",
    "DESCRIBE ({s}{c})",
    "PREPARE p AS {s}",
    "CREATE OR REPLACE VIEW captions AS {s}",
    "FROM query($${s}$$)",
    "FROM query({q})",
    "SELECT {q}",
    'SELECT 1 AS "{s}"',
    "SELECT $tag${s}$tag$",
    "/* {s} */ SELECT 1",
    "SELECT 1 /* /* */ {s} -- */",
    "-- {s}\nSELECT 1",
    "SELECT 1 -- \r{s}",
    "FROM json_execute_serialized_sql(json_serialize_sql({q}))",
    "PIVOT ({s}{c}) ON 1 IN (1) USING count(*)",
]
JUNK = ["/*", "*/", "--", "\n", "\r", "\v", "$$", "'", '"', ";", "(", ")", "\0", "\x1a", "\u00a0", "\u2028", "\u200b"]
JUNK += ["\ufeff", "\ud800", "\udcff", "\uff1b", "E'\\'", "$a$", "\\", "--'", "/*'*/", "ANALYZE", "EXPLAIN", "{", "}"]
WIDE = str.maketrans({char: chr(ord(char) + 0xFEE0) for char in string.ascii_letters})


def statement_of(chance: random.Random, out: str) -> str:
    sql = chance.choice(PAYLOADS[:3] if chance.random() < 0.5 else PAYLOADS)
    around_it = chance.choices(AROUND, k=chance.choice([0, 1, 1, 1, 2, 2, 3, 5]))
    if chance.random() < 0.4:  # what an EXPLAIN explains has to be found in its text
        around_it += [*chance.choices(HIDDEN, k=chance.choice([0, 1])), chance.choice(EXPLAINS)]
    for around in around_it:
        quoted = "'" + sql.replace("'", "''") + "'"
        while "{c}" in around:
            around = around.replace("{c}", chance.choice(COMMENTS), 1)
        sql = around.replace("{s}", sql).replace("{q}", quoted)
    for _ in range(chance.choice([0, 0, 0, 1, 1, 2, 3])):
        place = chance.randrange(len(sql) + 1)
        sql = sql[:place] + chance.choice(JUNK) + sql[place + chance.choice([0, 0, 0, 1]) :]
    turned = chance.randrange(40)
    if turned == 0:
        sql = sql.translate(WIDE)
    elif turned == 1:
        sql = sql.encode("utf-16-le", "surrogatepass").decode("latin-1")
    elif turned == 2:
        sql = sql.swapcase()
    elif turned == 3:
        sql = sql.replace(" ", chance.choice(COMMENTS[3:]))
    return sql.replace("{out}", out).replace("{OUT}", out)


def attack(out: Path, seed: int, count: int) -> tuple[int, int]:
    """How many statements were executed and refused. Fails where anything was written or another error came out."""
    chance = random.Random(seed)
    (out / "pipeline.yaml").write_text("name: mine\n")
    before = written(out.parent)
    executed = refused = 0
    connection: Any = connect(str(out))
    with connection:
        for _ in range(count):
            sql = statement_of(chance, str(out))
            cursor = connection.cursor()
            try:
                if chance.random() < 0.5:
                    run_sql(cursor, sql)
                else:
                    list(arrow_sql(cursor, sql)[1])
                executed += 1
            except UserError:
                refused += 1
            cursor.close()
            assert written(out.parent) == before, repr(sql)
        assert run_sql(connection, "SELECT count(*) FROM captions").rows == ((8,),)
    return executed, refused


@pytest.fixture
def plain(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The output under a name that needs no quotes, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return dataset.rename(tmp_path / "out")


def test_hundreds_of_statements_write_nothing(plain: Path) -> None:
    executed, refused = attack(plain, 3, 1000)
    assert executed > 30 and refused > 300


@pytest.mark.soak
def test_thousands_of_statements_write_nothing(plain: Path) -> None:
    for seed in range(4, 14):
        attack(plain, seed, 1000)
