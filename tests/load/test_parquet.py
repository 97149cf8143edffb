"""Parquet is read in the calling thread only, and spawn workers end cleanly."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from loading import two_texts

from recaption.load import CaptionDataset, loader

Built = Callable[[str], Path]


@pytest.mark.parametrize("format", ["sidecar", "parquet"])
def test_no_thread_of_pyarrow_reads(built: Built, format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []

    class Spy(pq.ParquetFile):
        def read(self, *args: Any, use_threads: bool = True, **options: Any) -> Any:
            threads.append(use_threads)
            return super().read(*args, use_threads=use_threads, **options)

        def read_row_group(self, *args: Any, use_threads: bool = True, **options: Any) -> Any:
            threads.append(use_threads)
            return super().read_row_group(*args, use_threads=use_threads, **options)

    def refused(*args: Any, **options: Any) -> Any:
        raise AssertionError("read_table starts threads, whatever it is given")

    monkeypatch.setattr(pq, "ParquetFile", Spy)
    monkeypatch.setattr(pq, "read_table", refused)
    CaptionDataset(built(format), policy=two_texts, batch_size=4).batch(0)
    assert threads and not any(threads)


def _exit_codes(path: Path) -> list[int | None]:
    dataset = CaptionDataset(path, policy=two_texts, batch_size=4, epochs=1)
    workers: list[Any] = []
    for _ in loader(dataset, num_workers=2, multiprocessing_context="spawn"):
        workers = workers or multiprocessing.active_children()
    for worker in workers:
        worker.join()
    return [worker.exitcode for worker in workers]


@pytest.mark.parametrize("format", ["sidecar", "parquet"])
def test_spawn_workers_end_cleanly(built: Built, format: str) -> None:
    assert _exit_codes(built(format)) == [0, 0]


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("format", ["sidecar", "parquet"])
def test_spawn_workers_end_cleanly_a_hundred_times(built: Built, format: str) -> None:
    assert [_exit_codes(built(format)) for _ in range(100)] == [[0, 0]] * 100
