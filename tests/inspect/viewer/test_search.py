from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from recaption.errors import UserError
from recaption.inspect.connection import open_outputs
from recaption.inspect.paths import find
from recaption.inspect.report import gather
from recaption.inspect.sql import Row
from recaption.inspect.viewer.search import statement


@pytest.fixture
def samples(golden: Path) -> dict[str, Row]:
    return {sample.key: sample for sample in gather(find(str(golden))).samples}


@pytest.fixture
def connection(golden: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_outputs(find(str(golden))) as opened:
        yield opened


def found(connection: duckdb.DuckDBPyConnection, most: int = 100, **filters: str) -> set[str]:
    sql, values = statement(filters, most)
    return {key for (key,) in connection.execute(sql, values or None).fetchall()}


def test_filters_match_as_those_of_the_report(connection: duckdb.DuckDBPyConnection, samples: dict[str, Row]) -> None:
    every = samples.items()
    assert found(connection) == set(samples)
    for flag in ("negation", "unsupported", "fragment"):
        expected = {key for key, sample in every if flag in sample.flags}
        assert expected and found(connection, flag=flag) == expected
    assert found(connection, flag="duplicate") == {key for key, sample in every if "duplicate" in sample.flags}
    for weight in ("w0", "w1", "w2", "w3", "w4"):
        assert found(connection, weight=weight) == {key for key, sample in every if weight in sample.weights}
    for status in ("reject", "partial"):
        assert found(connection, status=status) == {key for key, sample in every if sample.status == status}
    kites = {key for key, sample in every if "kite" in sample.lemmas}
    assert kites and found(connection, tag="kite") == kites
    usable = {key for key, sample in every if any(c.model == "golden" for c in sample.captions)}
    assert found(connection, model="golden") == usable and found(connection, model="gold") == set()


def test_the_text_is_found_in_captions_and_keys(connection: duckdb.DuckDBPyConnection, samples: dict[str, Row]) -> None:
    assert found(connection, q="  RED  kites FLY ") == {"000000000"}
    assert found(connection, q="dunes. no people") == {"000000000"}  # across sub-captions
    assert found(connection, q="dunes. no people", generation="short") == set()
    assert found(connection, q="000000012") == {"000000012"}
    assert found(connection, q=samples["000000000"].source_key) == {"000000000"}
    assert found(connection, q="100% _'; DROP VIEW images; --") == set()


def test_one_more_key_than_wanted_is_selected() -> None:
    assert statement({}, 5)[0].endswith("LIMIT 6")


@pytest.mark.parametrize("given", [{"flag": "no such"}, {"weight": "w9"}, {"flag": "x OR true"}])
def test_unknown_flags_and_weights_are_user_errors(given: dict[str, str]) -> None:
    with pytest.raises(UserError, match="there is no"):
        statement(given, 5)


def test_filtered_results_are_in_the_order_of_the_build(connection: duckdb.DuckDBPyConnection) -> None:
    sql, values = statement({"q": "a"}, 100)
    ordered = 'SELECT key FROM images ORDER BY shard, "row"'
    keys = [key for (key,) in connection.execute(sql, values).fetchall()]
    assert len(keys) > 3 and keys == [key for (key,) in connection.execute(ordered).fetchall() if key in keys]
