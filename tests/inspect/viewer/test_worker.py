from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recaption.errors import DatasetError, UserError
from recaption.inspect.viewer.limits import Limits
from recaption.inspect.viewer.worker import Answer, Worker

LIMITS = Limits(seconds=120.0, memory_mib=256, keys=5, rows=3, cell=10)


@pytest.fixture(scope="module")
def worker(golden: Path) -> Iterator[Worker]:
    started = Worker(str(golden), LIMITS)
    yield started
    started.close()


def test_rows_and_values_are_cut(worker: Worker) -> None:
    answer = worker.ask("SELECT range AS n, repeat('x', 30) AS text, NULL AS none, [1, 2] AS list FROM range(9)")
    row = ("0", "xxxxxxxxxx…", "", "[1, 2]")
    assert answer.columns == ("n", "text", "none", "list") and answer.rows[0] == row
    assert len(answer.rows) == 3 and answer.more and answer.keys is None


def test_keys_are_distinct_and_in_order(worker: Worker) -> None:
    answer = worker.ask("SELECT 'b' AS key UNION ALL SELECT 'a' UNION ALL SELECT 'b'")
    assert answer.keys == ("b", "a") and not answer.more
    assert worker.ask("SELECT key FROM images").more
    assert Answer(columns=("key",), rows=(), more=False).keys == ()


def test_values_are_bound(worker: Worker) -> None:
    assert worker.ask("SELECT $text AS text", {"text": "'; DROP"}).rows == (("'; DROP",),)


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("COPY images TO 'x.csv'", "inspect only reads, and this is a COPY statement"),
        ("DROP VIEW images", "inspect only reads"),
        ("SET memory_limit = '1TB'", "inspect only reads"),
        ("SELECT 1; SELECT 2", "2 statements were given"),
        ("FROM read_text('/etc/hosts')", "reads the given outputs only"),
        ("SELECT nothing FROM images", "Views: images"),
        ("", "there is no SQL"),
        ("SELECT date '290000-01-01'", "cannot be shown"),
        ("SELECT repeat('x', 2000000000)", "needs more than 256 MiB of memory"),
        ("SELECT list(range) FROM range(1000000000)", "needs more than 256 MiB of memory"),
    ],
)
def test_what_a_statement_must_not_do_is_refused_and_the_next_one_runs(worker: Worker, sql: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        worker.ask(sql)
    assert worker.ask("SELECT count(*) FROM images").rows == (("20",),)


def test_a_statement_that_takes_too_long_is_stopped_and_the_next_one_runs(golden: Path) -> None:
    slow = Worker(str(golden), replace(LIMITS, seconds=5.0))
    try:
        with pytest.raises(UserError, match="stopped after 5 s"):
            slow.ask("SELECT count(*) FROM range(100000) a, range(1000000000) b")
        assert slow.ask("SELECT 1 AS one").rows == (("1",),)
    finally:
        slow.close()


def test_a_process_that_ended_is_started_again(worker: Worker) -> None:
    assert worker._process
    worker._process.kill()
    with pytest.raises(UserError, match="needs more than 256 MiB"):
        worker.ask("SELECT 1")
    assert worker.ask("SELECT 1 AS one").columns == ("one",)


def test_an_output_that_cannot_be_read_is_a_dataset_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="cannot inspect"):
        Worker(str(tmp_path), LIMITS)
