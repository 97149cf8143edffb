"""Reading the reports of runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from recaption.errors import DatasetError
from recaption.io.store import LocalStore
from recaption.output.reports import last_run, read_json, run_reports, shard_ids


def test_reports_are_read_oldest_first(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    assert (run_reports(store), last_run(store), shard_ids(store)) == ([], {}, [])
    for run in ("run-000002", "run-000001"):
        store.put(f"metrics/{run}.json", f'{{"run": "{run}"}}'.encode())
    store.put("metrics/progress.json", b'{"run": "run-000003"}')
    assert [report["run"] for report in run_reports(store)] == ["run-000001", "run-000002"]
    assert last_run(store) == {"run": "run-000002"}


def test_indexed_shards_are_sorted(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    for name in ("b.parquet", "a.parquet", "a.txt"):
        store.put(f"index/{name}", b"")
    assert shard_ids(store) == ["a", "b"]


@pytest.mark.parametrize(("content", "message"), [(b"{", "is not JSON"), (b"[]", "is not a JSON object")])
def test_a_broken_report_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    store = LocalStore(tmp_path)
    store.put("metrics/run-000001.json", content)
    with pytest.raises(DatasetError, match=message):
        run_reports(store)
    assert read_json(store, "metrics/none.json") is None
