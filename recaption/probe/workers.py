"""Runs of a probe, one after the other or in several processes. The numbers are the same."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import connection
from typing import Final

import torch

from recaption.errors import RecaptionError
from recaption.probe import scratch, tower
from recaption.probe.arms import Arm
from recaption.probe.encoders import text_encoder
from recaption.probe.pictures import PictureFile, Pictures
from recaption.probe.queries import Examination
from recaption.probe.runs import Run
from recaption.probe.scratch import Scratch
from recaption.probe.settings import Training

TRAINED: Final = "trained"
Job = tuple[str, int]
"""The name of an arm, and a seed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """What a process needs for any run."""

    arms: Mapping[str, Arm]
    pictures: PictureFile
    examined: Examination
    training: Training
    text: str = TRAINED  # or the name of a frozen text encoder
    scratch: Scratch | None = None  # both towers from scratch, on pixels instead of features

    def run(self, job: Job, pictures: Pictures) -> Run:
        (name, seed), started = job, time.monotonic()
        if self.scratch:
            trained = scratch.train(pictures.train, self.arms[name], seed, self.training, self.scratch)
        else:
            encode = None if self.text == TRAINED else text_encoder(self.text)
            trained = tower.train(pictures.train, self.arms[name].drawer(seed), seed, self.training, encode)
        found = tower.outcomes(trained.model, pictures.queries, self.examined.images, self.examined.queries)
        return Run(arm=name, seed=seed, loss=trained.loss, seconds=time.monotonic() - started, outcomes=found)


def finished(work: Work, jobs: Sequence[Job], processes: int) -> Iterator[Run]:
    """The runs as they finish, each in one thread. Raises RecaptionError if a process is killed."""
    if not jobs:
        return
    processes = min(processes, len(jobs))
    if processes > 1:
        yield from _in_processes(work, jobs, processes)
        return
    pictures = work.pictures.read()
    with tower.one_thread():
        for job in jobs:
            yield work.run(job, pictures)


def _in_processes(work: Work, jobs: Sequence[Job], processes: int) -> Iterator[Run]:
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(
        processes, mp_context=multiprocessing.get_context("spawn"), initializer=_begin, initargs=(work,)
    )
    try:
        for future in as_completed([pool.submit(_run, job) for job in jobs]):
            yield future.result()
    except BrokenProcessPool as error:
        raise RecaptionError(
            "a process of the probe was killed, perhaps for lack of memory. Run the same command again with fewer "
            "--processes; finished runs are kept"
        ) from error
    finally:  # also when this iterator is closed: a run takes minutes, so it is not waited for
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        pool.shutdown(cancel_futures=True)


_worker: tuple[Work, Pictures]


def _begin(work: Work) -> None:
    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends them
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _worker = work, work.pictures.read()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


def _run(job: Job) -> Run:
    work, pictures = _worker
    return work.run(job, pictures)
