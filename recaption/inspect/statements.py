"""Read-only SQL: checks statements, and a connection that executes only statements that passed the check.

DuckDB has no setting that forbids writing inside a folder that may be read, and since 2.0 a SELECT can write:
`WITH x AS (COPY …) SELECT …`. So each statement is checked before it is executed. What is checked is what is executed:
DuckDB parses the text, prints the syntax tree of that text, and executes the statement object that it made of the same
text. Kinds of statements, nodes of the tree and table functions that are not listed here are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from recaption.errors import UserError
from recaption.formatting import printable
from recaption.inspect.views import VIEWS

if TYPE_CHECKING:
    import duckdb

HINT = (
    f"Write one SELECT over the views {', '.join(VIEWS)}, e.g. SELECT lemma, count(*) AS n FROM objects GROUP BY ALL "
    f"ORDER BY n DESC LIMIT 20"
)

# Types of the parts of a syntax tree that are not expressions, as json_serialize_sql of DuckDB 1.3 to 2.0 names them.
_PARTS = {
    *("SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"),
    *("BASE_TABLE", "EMPTY", "EXPRESSION_LIST", "JOIN", "PIVOT", "SHOW_REF", "SUBQUERY", "TABLE_FUNCTION"),
    *("DISTINCT_MODIFIER", "LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER", "ORDER_MODIFIER"),
    *("ORDER_DEFAULT", "ASCENDING", "DESCENDING"),
}
_TYPE_INFO = "_TYPE_INFO"  # of a column type: DECIMAL_TYPE_INFO, …
_TABLE_FUNCTIONS = {
    *("range", "generate_series", "unnest", "repeat", "repeat_row", "json_each", "json_tree", "query_table", "glob"),
    *("read_blob", "read_text", "read_csv", "read_csv_auto", "sniff_csv", "read_json", "read_json_auto"),
    *("read_json_objects", "read_json_objects_auto", "read_ndjson", "read_ndjson_auto", "read_ndjson_objects"),
    *("read_parquet", "parquet_scan", "parquet_schema", "parquet_metadata", "parquet_full_metadata"),
    *("parquet_file_metadata", "parquet_kv_metadata", "parquet_bloom_probe"),
    *("summary", "histogram", "histogram_values", "test_all_types", "test_vector_types"),
    *("icu_calendar_names", "pg_timezone_names"),
}
_CATALOG = ("duckdb_", "pragma_")  # table functions that list DuckDB's catalog
# These run SQL from a string, which may be computed.
_RUN_TEXT = {"query", "json_execute_serialized_sql"}
_OPTION = re.compile("analyze|format [a-z]+")
_WORD = re.compile(rb"\w+|.", re.DOTALL)


def read_statement(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    """The checked statement in `sql`. Execute the returned object, not the text.

    Raises UserError for any statement that does more than read, duckdb.Error for one that DuckDB does not understand.
    """
    statement = _one(connection, sql)
    kind = _kind(statement)
    if kind == "EXPLAIN":
        return _explain(connection, statement.query)
    if kind == "SELECT":
        return _select(connection, statement.query)
    if kind == "MULTI":
        raise UserError(f"this statement would create a type first. Give a PIVOT its values: ON x IN (…). {HINT}")
    raise UserError(f"inspect only reads, and this is {_article(kind)} statement. {HINT}")


def storable(text: str) -> str:
    """`text` unchanged. Raises UserError for characters that DuckDB cannot store."""
    wrong = next((place for place, char in enumerate(text) if char == "\0" or "\ud800" <= char <= "\udfff"), None)
    if wrong is None:
        return text
    what = "a NUL character" if text[wrong] == "\0" else "a byte that is not UTF-8"
    raise UserError(f"character {wrong + 1} of {printable(text)[:60]!r} is {what}. Give text in UTF-8")


def _one(connection: duckdb.DuckDBPyConnection, sql: str) -> duckdb.Statement:
    found = connection.extract_statements(storable(sql))
    if not found:
        raise UserError(f"there is no SQL in {printable(sql)!r}. {HINT}")
    if len(found) > 1:
        raise UserError(f"{len(found)} statements were given; inspect runs one at a time. {HINT}")
    return found[0]


def _kind(statement: duckdb.Statement) -> str:
    try:
        return str(statement.type.name)
    except ValueError:  # DuckDB's Python package has no name for this kind: UPDATE EXTENSIONS in 2.0
        return ""


def _select(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.Statement:
    statement = _one(connection, query)  # parsed from the text that is checked
    if _kind(statement) != "SELECT":
        raise UserError(f"inspect only reads, and this is {_article(_kind(statement))} statement. {HINT}")
    # fetchall: DuckDB 2.0 executes nothing else on a connection with unread rows
    ((text,),) = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [query]).fetchall()
    try:
        tree = json.loads(text)
        if tree["error"]:
            raise UserError(
                f"inspect cannot check whether this statement only reads: {printable(tree['error_message'])}"
            )
        for part in _parts(tree["statements"]):
            _check(part)
    except RecursionError as error:
        raise UserError(f"this statement is nested too deeply to be checked. {HINT}") from error
    return statement


def _explain(connection: duckdb.DuckDBPyConnection, query: str) -> duckdb.Statement:
    """EXPLAIN ANALYZE executes its query: the query is checked, and a new EXPLAIN is made of it."""
    options, explained = _split(query)
    checked = _select(connection, explained)
    statement = _one(connection, f"EXPLAIN ({options or 'FORMAT text'}) {checked.query}")
    if _kind(statement) != "EXPLAIN":
        raise UserError(f"inspect cannot read this EXPLAIN. {HINT}")
    return statement


def _split(query: str) -> tuple[str, str]:
    """The options and the query of an EXPLAIN, split with DuckDB's tokenizer."""
    import duckdb

    data = query.encode()
    comment = getattr(duckdb.token_type, "comment", None)
    places = [place for place, kind in duckdb.tokenize(query) if kind != comment]
    words = [match[0].decode("utf-8", "replace").lower() for place in places if (match := _WORD.match(data, place))]
    options, next_word = [], 1
    if words[1:2] == ["analyze"]:
        options.append("ANALYZE")
        next_word = 2
    if words[next_word : next_word + 1] == ["("] and ")" in words[next_word:]:
        end = words.index(")", next_word)
        listed = [option.split() for option in " ".join(words[next_word + 1 : end]).split(",")]
        if all(map(_OPTION.fullmatch, map(" ".join, listed))):
            options += map(" ".join, listed)
            next_word = end + 1
    if next_word >= len(places):
        raise UserError(f"this EXPLAIN has no query. {HINT}")
    return ", ".join(options), data[places[next_word] :].decode()


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        yield tree
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _parts(child)


def _check(part: Mapping[str, Any]) -> None:
    kind = part.get("type")
    if isinstance(kind, str) and "class" not in part and kind not in _PARTS and not kind.endswith(_TYPE_INFO):
        raise UserError(f"inspect only reads, and this is a writing SELECT statement: it has a {kind}. {HINT}")
    function = str(part.get("function_name")).lower()
    if function in _RUN_TEXT:
        raise UserError(f"{function}() runs SQL from a string, which inspect cannot check. {HINT}")
    if kind == "TABLE_FUNCTION":
        called = part.get("function")
        name = str(called.get("function_name") if isinstance(called, dict) else called).lower()
        if name not in {*_TABLE_FUNCTIONS, *_RUN_TEXT} and not name.startswith(_CATALOG):
            raise UserError(f"inspect does not run the table function {printable(name)}(); --unsafe does. {HINT}")


def _article(name: str) -> str:
    if not name:
        return "another kind of"
    return f"an {name}" if name[0] in "AEIOU" else f"a {name}"


class Connection:
    """A DuckDB connection that executes only statements that read: what `recaption.inspect.connect` returns.

    It has the methods to query and to read results; `connect(…, unsafe=True)` returns DuckDB's own.
    """

    __slots__ = ("_duckdb",)

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._duckdb = connection

    def execute(self, query: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None) -> Connection:
        """Execute one read-only statement; `fetchall()` and others return its rows. Raises as `read_statement`."""
        self._duckdb.execute(read_statement(self._duckdb, query), parameters)
        return self

    def sql(self, query: str, *, params: Sequence[Any] | Mapping[str, Any] | None = None) -> duckdb.DuckDBPyRelation:
        """The same as a relation. Raises as `read_statement`."""
        return self._duckdb.sql(read_statement(self._duckdb, query), params=params)

    def cursor(self) -> Connection:
        """Another connection over the same views."""
        return Connection(self._duckdb.cursor())

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._duckdb.close()

    def __getattr__(self, name: str) -> Any:
        if name not in _ANSWERS:
            raise AttributeError(f"a connection that only reads has no {name!r}; connect(…, unsafe=True) returns one")
        return getattr(self._duckdb, name)


_ANSWERS = {
    *("description", "rowcount", "fetchone", "fetchmany", "fetchall", "fetchnumpy", "fetchdf", "fetch_df", "df"),
    *("fetch_df_chunk", "arrow", "fetch_arrow_table", "fetch_arrow_reader", "fetch_record_batch", "to_arrow_table"),
    *("to_arrow_reader", "pl", "torch", "interrupt", "query_progress", "close"),
}


def unwrapped(connection: duckdb.DuckDBPyConnection | Connection) -> duckdb.DuckDBPyConnection:
    """DuckDB's own connection."""
    return connection._duckdb if isinstance(connection, Connection) else connection
