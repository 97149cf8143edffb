"""Batches leave a worker in shared memory, so that its queue's thread runs no code of torch that releases the GIL."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from loading import two_texts

from recaption.load import CaptionDataset, Mixture, loader
from recaption.load.resumable import ResumableDataset, _FromStep

Built = Callable[[str], Path]
FORMATS = ("webdataset", "sidecar", "parquet")


def dataset(out: Path) -> CaptionDataset:
    return CaptionDataset(out, policy=two_texts, batch_size=4, epochs=1, strings=True)


def unshared(batch: dict[str, Any]) -> list[str]:
    tensors = [
        (name, one)
        for name, value in batch.items()
        for one in (value if isinstance(value, list) else [value])
        if isinstance(one, torch.Tensor)
    ]
    assert {"images", "mask", "index", "weight"} <= {name for name, _ in tensors}
    return [name for name, tensor in tensors if not tensor.is_shared()]


@pytest.mark.parametrize("format", [*FORMATS, "mixture"])
def test_a_worker_gives_only_tensors_in_shared_memory(
    built: Built, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: ResumableDataset = (
        Mixture([(dataset(built(n)), 1) for n in FORMATS]) if format == "mixture" else dataset(built(format))
    )
    assert unshared(next(iter(made)))  # without workers nothing is moved
    info = SimpleNamespace(id=0, num_workers=1, seed=7)
    monkeypatch.setattr("recaption.load.resumable.get_worker_info", lambda: info)
    assert unshared(next(iter(made))) == []
    assert unshared(next(iter(_FromStep(made, 0, None)))) == []


ENDS = """
import multiprocessing, os, sys, threading
from types import SimpleNamespace
import torch
from recaption.load import resumable
resumable.get_worker_info = lambda: SimpleNamespace(id=0, num_workers=1, seed=7)
resumable._QUEUE_SECONDS = float(sys.argv[1])
class Slow:
    def __reduce__(self):
        begun.set()
        released.wait(float(sys.argv[2]))
        os.write(1, b"sent")
        return str, ()
begun, released = threading.Event(), threading.Event()
queue = multiprocessing.get_context("spawn").Queue()
resumable.shared({"images": torch.zeros(1)})
queue.put(Slow())
begun.wait()
queue.cancel_join_thread()  # as torch does when a worker ends
queue.close()
"""


@pytest.mark.parametrize(("patience", "takes", "out"), [("300", "0.5", b"sent"), ("0", "300", b"")])
def test_a_worker_ends_after_the_thread_of_its_queue(patience: str, takes: str, out: bytes) -> None:
    done = subprocess.run([sys.executable, "-c", ENDS, patience, takes], capture_output=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (0, out), done.stderr


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("context", ["spawn", "forkserver", "fork"])
@pytest.mark.parametrize("format", FORMATS)
def test_workers_that_are_stopped_early_end_cleanly_a_hundred_times(built: Built, format: str, context: str) -> None:
    codes: Counter[int | None] = Counter()
    for _ in range(50):
        batches = loader(dataset(built(format)), num_workers=2, multiprocessing_context=context)
        next(iter(batches))
        workers = multiprocessing.active_children()
        batches.close()
        for worker in workers:
            worker.join()
        codes.update(worker.exitcode for worker in workers)
    assert codes == {0: 100}
