"""The SQL of recaption itself."""

from __future__ import annotations

import duckdb
import pytest

from recaption.inspect.sql import Row, fetch, fetch_rows, identifier, placeholders, quoted


@pytest.mark.parametrize("text", ["a", "it's", 'a "b"', "''; DROP TABLE x; --", "犬"])
def test_texts_and_names_are_quoted(text: str) -> None:
    with duckdb.connect() as connection:
        sql = f"SELECT {quoted(text)} AS {identifier(text)}"
        assert fetch_rows(connection, sql) == [Row(**{text: text})]


def test_each_value_has_a_placeholder() -> None:
    with duckdb.connect() as connection:
        keys = ["a", "b'"]
        sql = f"SELECT x FROM (VALUES ('a'), ('b'''), ('c')) t(x) WHERE x IN {placeholders(keys)} ORDER BY x"
        assert fetch(connection, sql, keys) == [("a",), ("b'",)]
