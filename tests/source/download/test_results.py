"""Results from tables such as img2dataset writes: the last attempt counts, lost rows are found, and sums add up."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption.errors import StoreError
from recaption.source.download import results
from recaption.tablefile import read_table

OK = ("success", None)


def shard(out: Path, number: int, rows: dict[int, tuple[str, str | None]]) -> None:
    records = [{"row": row, "status": status, "error_message": error} for row, (status, error) in rows.items()]
    schema = pa.schema([("row", pa.int64()), ("status", pa.string()), ("error_message", pa.string())])
    pq.write_table(pa.Table.from_pylist(records, schema), out / f"{number:05d}.parquet")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Six rows. The first pass: 1 and 5 stored, 0 not found, 2 and 4 timed out, 3 without a record."""
    folder = tmp_path / "kind=hive" / "it's"  # neither a column nor the end of a string
    (folder / ".download" / "urls").mkdir(parents=True)
    table = pa.table({"row": range(6), "url": [f"u{n}" for n in range(6)], "n": range(6)})
    pq.write_table(table, folder / ".download" / "urls" / "00-00000.parquet")
    late = ("failed_to_download", "<urlopen error timed out>")
    shard(folder, 0, {1: OK, 0: ("failed_to_download", "HTTP Error 404: Not Found"), 2: late})
    shard(folder, 1, {5: OK, 4: late})
    return folder


def test_a_second_pass_tries_what_failed_temporarily(out: Path) -> None:
    urls = out / ".download" / "urls"
    again = urls / "01-00000.parquet"
    assert results.write_failed(out, urls, 2) == {
        "urls": 6, "downloaded": 2, "recovered": 0, "failed": {"timeout": 2, "lost": 1, "not_found": 1}
    }  # fmt: skip
    assert results.write_second_list(out, again) == 3
    assert read_table(again).to_pydict() == {"row": [2, 3, 4], "url": ["u2", "u3", "u4"], "n": [2, 3, 4]}

    shard(out, 2, {2: ("failed_to_download", "truncated: 3 of 9 bytes"), 3: OK})
    assert results.write_failed(out, urls, 2) == {
        "urls": 6, "downloaded": 3, "recovered": 1, "failed": {"not_found": 1, "timeout": 1, "truncated": 1}
    }  # fmt: skip
    assert read_table(out / "failed.parquet").drop_columns("row").to_pylist() == [
        {"url": "u0", "n": 0, "status": "not_found", "error_message": "HTTP Error 404: Not Found", "attempts": 1},
        {"url": "u2", "n": 2, "status": "truncated", "error_message": "truncated: 3 of 9 bytes", "attempts": 2},
        {"url": "u4", "n": 4, "status": "timeout", "error_message": "<urlopen error timed out>", "attempts": 1},
    ]


def test_no_second_list_when_nothing_failed_temporarily(out: Path) -> None:
    urls = out / ".download" / "urls"
    shard(out, 2, {row: OK for row in (2, 3, 4)})
    results.write_failed(out, urls, 2)
    assert results.write_second_list(out, urls / "01-00000.parquet") == 0
    assert not (urls / "01-00000.parquet").exists()


def test_a_damaged_table_is_named(out: Path) -> None:
    (out / "00001.parquet").write_bytes(b"PAR1")
    with pytest.raises(StoreError, match=r"00001.parquet.*delete the _stats.json of its shard and run again"):
        results.write_failed(out, out / ".download" / "urls", 2)
