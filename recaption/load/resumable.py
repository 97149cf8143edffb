"""Iteration by global step, with exact resume from a state of a few integers.

`BatchSchedule` maps a global step to the positions of one rank, `ResumableDataset` iterates over steps, and
`CaptionLoader` runs it in worker processes and counts the batches that it has delivered.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import count
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from recaption.errors import DatasetError, MissingExtra, UserError

try:
    import torch
    from torch.utils.data import DataLoader, IterableDataset, get_worker_info
except ImportError as error:
    raise MissingExtra("torch", "train") from error

Batch = dict[str, Any]

STATE_VERSION: Final = 1


_log = logging.getLogger("recaption.load")
_MOST_WORKERS: Final = 1024
_QUEUE_SECONDS: Final = 1.0


DropLast = Literal["global", "pad"]


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchSchedule:
    """Divides epochs of `samples` into global batches. All ranks make the same number of steps.

    `drop_last` "global": the samples that do not fill a global batch are left out, different ones in each epoch.
    "pad": the last batch is filled with samples from the start of the epoch, which are False in its mask.

    Raises UserError if there is no sample, or no whole batch in an epoch.
    """

    samples: int
    batch_size: int  # of one rank
    world_size: int
    drop_last: DropLast

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise UserError("there is no sample to load: all were rejected or are in another split. Give another split")
        if not self.per_epoch:
            raise UserError(
                f"batch_size {self.batch_size} on {self.world_size} ranks makes global batches of {self.global_batch}, "
                f"and there are {self.samples} samples, so an epoch has no whole batch. "
                'Give a smaller batch_size, or drop_last="pad"'
            )

    @property
    def global_batch(self) -> int:
        return self.batch_size * self.world_size

    @property
    def per_epoch(self) -> int:
        whole, rest = divmod(self.samples, self.global_batch)
        return whole + (rest > 0 and self.drop_last == "pad")

    def batch(self, step: int, rank: int) -> tuple[int, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The epoch of a global step; for the rank's slots, positions in the epoch [B] and the mask [B]."""
        epoch, within = divmod(step, self.per_epoch)
        first = within * self.global_batch + rank * self.batch_size
        slots = np.arange(first, first + self.batch_size)
        return epoch, slots % self.samples, slots < self.samples


class SharedStart:
    """The step at which the next iteration begins, in memory that all workers share.

    A DataLoader's workers hold copies of the dataset, so nothing that a copy counts reaches the next iteration. Each
    worker marks the end of its part here; when all have, the start moves to the next epoch. Marks carry the iteration
    that they belong to: the workers of an iteration that was left early have marked nothing for the next one.
    """

    def __init__(self) -> None:
        self._start = torch.zeros(3, dtype=torch.int64).share_memory_()  # start, times it was set, begun at that time
        self._ended = torch.zeros(_MOST_WORKERS, dtype=torch.int64).share_memory_()

    @property
    def start(self) -> int:
        return int(self._start[0])

    @property
    def times_set(self) -> int:
        return int(self._start[1])

    def set(self, step: int) -> None:
        self._move(step, self.times_set + 1)

    def begin(self) -> bool:
        """Called by one worker of each iteration. Whether an earlier iteration began at the same start."""
        again = int(self._start[2]) == self.times_set + 1
        self._start[2] = self.times_set + 1
        return again

    def end(self, worker: int, workers: int, iteration: int, steps: range) -> None:
        """`worker` has made all of its batches of `iteration`, which covers these steps. The last worker moves the
        start to the step after them, unless another start was set meanwhile."""
        self._ended[worker] = iteration
        if bool((self._ended[:workers] == iteration).all()) and self.start in steps:
            self._move(steps.stop, self.times_set + 1)

    def _move(self, step: int, times_set: int) -> None:
        self._start[0] = step
        self._start[1] = times_set


def shared(batch: Batch) -> Batch:
    """The batch; in a worker, with its tensors moved into shared memory by the thread that made them.

    Otherwise the thread of the worker's queue moves them while it pickles the batch, and torch releases the GIL for
    that. CPython before 3.14 ends such a thread when it takes the GIL of an interpreter that is shutting down. This
    unwinds a C++ destructor, and the worker aborts ("terminate called without an active exception",
    pytorch/pytorch#38228). Only spawned workers end their interpreter; for tensors in shared memory torch keeps the
    GIL. At exit the worker also waits for that thread, which torch does not: sharing alone left 1 abort among 200
    workers.
    """
    if get_worker_info() is not None:
        _wait_for_queue_at_exit()
        for value in batch.values():
            for one in value if isinstance(value, list) else (value,):
                if isinstance(one, torch.Tensor):
                    one.share_memory_()
    return batch


@cache
def _wait_for_queue_at_exit() -> None:
    atexit.register(_wait_for_queue)


def _wait_for_queue() -> None:
    """Wait until the threads that feed queues have ended; at most a second, for a queue that is no longer read."""
    until = time.monotonic() + _QUEUE_SECONDS
    for thread in threading.enumerate():
        if thread.name == "QueueFeederThread":  # CPython, multiprocessing/queues.py
            thread.join(max(0.0, until - time.monotonic()))


class ResumableDataset(IterableDataset):  # type: ignore[type-arg,unused-ignore]
    """Whole batches, each a pure function of its global step. A subclass implements `batch`."""

    def __init__(
        self, steps: BatchSchedule, *, seed: int, rank: int, epochs: int | None, split: str, fingerprint: int
    ) -> None:
        super().__init__()
        if epochs is not None and epochs < 1:
            raise UserError(f"epochs is {epochs}; it must be at least 1, or None for no end")
        self.steps, self.seed, self.rank, self.epochs, self.split = steps, seed, rank, epochs, split
        self.fingerprint = fingerprint
        self._step, self._stride, self._end = 0, 1, -1
        self._shared = SharedStart()
        self._seen = 0  # `times_set` when `_step` was taken from the shared start
        self._loaded = False  # a state of this worker's copy was loaded for the next iteration
        self._iterations = 0  # of this copy
        self._repeat_warned = False

    def batch(self, step: int) -> Batch:
        """The batch of this rank at a global step, counted from 0 over all epochs. Stateless."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Batch]:
        """Worker w of W makes steps w, w + W, …, so that DataLoader's round robin gives all of them in order.

        Without workers, an iteration continues after the last batch of an unfinished one. With workers, it starts the
        same epoch again, with one warning: call `set_epoch` before each epoch. Raises UserError for a state that one of
        several workers saved, if there are now more or fewer workers.
        """
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        if worker is None:
            self._follow()
        elif not self._loaded:
            self._step, self._stride, self._seen = self._shared.start, 1, self._shared.times_set
            if number == 0 and self._shared.begin():
                self._warn()
        self._loaded = False
        if self._stride == 1:
            self._end = self._boundary(self._step)
            self._step += number
        elif self._stride != workers:
            raise UserError(
                f"the state was saved by one of {self._stride} workers, and there are {workers}. Use as many, or "
                "recaption.load.loader, whose state does not depend on workers"
            )
        self._stride = workers
        self._iterations += 1
        iteration = (worker.seed - worker.id) * 1_000_003 + self._iterations & (1 << 62) - 1 if worker else 0
        end = self._end
        while end < 0 or self._step < end:
            step, self._step = self._step, self._step + workers
            yield shared(self.batch(step))
        self._step, self._stride = end, 1
        if worker is None:
            self._shared.set(end)
            self._seen = self._shared.times_set
        else:
            self._shared.end(number, workers, iteration, range(end - len(self), end))

    def _follow(self) -> None:
        """Apply a start that was set elsewhere: by workers that finished an epoch, or by `set_epoch`."""
        if self._seen != self._shared.times_set:
            self._step, self._stride, self._seen = self._shared.start, 1, self._shared.times_set

    def _warn(self) -> None:
        if not self._repeat_warned:
            epoch = self._step // self.steps.per_epoch
            _log.warning(
                "epoch %d begins again: the last iteration over this dataset was not finished, so the next epoch is "
                "not known. Call dataset.set_epoch(epoch) before each epoch, or use recaption.load.loader",
                epoch,
            )
        self._repeat_warned = True

    def __len__(self) -> int:
        """Batches of one iteration. Raises TypeError if it does not end."""
        if self.epochs is None and self.split == "train":
            raise TypeError("the iteration does not end: epochs is None")
        return (self.epochs or 1) * self.steps.per_epoch

    def _boundary(self, step: int) -> int:
        """The step before which an iteration that begins at `step` ends; -1: never."""
        if self.epochs is None and self.split == "train":
            return -1
        return (step // len(self) + 1) * len(self)

    def set_epoch(self, epoch: int) -> None:
        """The next iteration starts with this epoch, also in running workers.

        Not needed after a finished iteration: the next one continues with the next epoch."""
        self._set(epoch * self.steps.per_epoch)

    def _set(self, step: int) -> None:
        self._shared.set(step)
        self._step, self._stride, self._seen, self._loaded = step, 1, self._shared.times_set, False

    def state_dict(self, step: int | None = None) -> dict[str, int]:
        """A state for `load_state_dict` that continues with global step `step` (default: after the last batch that this
        copy of the dataset made)."""
        if get_worker_info() is None:
            self._follow()
        return {
            "version": STATE_VERSION,
            "step": self._step if step is None else step,
            "stride": self._stride if step is None else 1,
            "end": self._end if step is None else -1,
            **self._identity(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state: the same samples and texts in the same order, without gaps and repetitions.

        The number of workers may differ; the number of ranks too, if the global batch and, on object stores, `lanes`
        are the same. Raises UserError for a state of other settings or another version, DatasetError if the data has
        changed.
        """
        if state.get("version") != STATE_VERSION:
            raise UserError(
                f"the state has version {state.get('version')}; this version of recaption reads {STATE_VERSION}"
            )
        try:
            steps = {name: int(state[name]) for name in ("step", "stride", "end")}
            # States of earlier versions have no lanes.
            theirs = {name: int(state.get(name, 0) if name == "lanes" else state[name]) for name in self._identity()}
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"this is not a state of a {type(self).__name__}: {error!r}") from error
        for name, mine in self._identity().items():
            if theirs[name] != mine:
                raise self._differs(name, theirs[name], mine)
        if steps["stride"] == 1:
            self._set(steps["step"])
            self._end = steps["end"]
        else:  # the state of one worker's copy is valid for that copy only
            self._step, self._stride, self._end = steps["step"], steps["stride"], steps["end"]
            self._loaded = True
            self._seen = self._shared.times_set

    def _identity(self) -> dict[str, int]:
        """The values that determine the order, and must be the same after a resume."""
        return {
            "fingerprint": self.fingerprint,
            "seed": self.seed,
            "global_batch": self.steps.global_batch,
            "pad": int(self.steps.drop_last == "pad"),
        }

    def _differs(self, name: str, theirs: int, mine: int) -> Exception:
        if name == "fingerprint":
            return DatasetError(
                f"the state was saved with other data (fingerprint {theirs:016x}, and this has {mine:016x}): a build "
                "or a file has changed, so the order of samples differs. Load the earlier build, or give no state"
            )
        if name == "global_batch":
            return UserError(
                f"the state was saved with global batches of {theirs}, and batch_size {self.steps.batch_size} on "
                f"{self.steps.world_size} ranks makes {mine}. Keep batch_size x world_size the same"
            )
        setting = {"pad": 'drop_last="pad"'}.get(name, name)
        return UserError(
            f"the state was saved with {setting} {theirs}, and this dataset has {mine}. Give the same setting"
        )


def loader(dataset: ResumableDataset, num_workers: int = 0, **options: Any) -> CaptionLoader:
    """A `CaptionLoader` of a CaptionDataset or Mixture; `options` are DataLoader's (pin_memory, prefetch_factor, …)."""
    return CaptionLoader(dataset, num_workers, **options)


class CaptionLoader:
    """Iterates over a CaptionDataset or a Mixture with worker processes, and resumes exactly.

    Its state counts the batches that were delivered, not those that workers prefetched, so it is correct at any time,
    and any number of workers can continue from it:

        >>> batches = loader(dataset, num_workers=8, pin_memory=True)
        >>> for epoch in range(batches.epoch, 30):          # with epochs=1
        ...     for batch in batches:
        ...         train(batch)
        ...         save(batches.state_dict())              # after the current batch

    Training data: an iteration continues where the last one ended, also after a `break`; workers stay alive and
    prefetch across epochs. Validation data: each iteration starts at the first sample.

    Raises UserError for DataLoader's options that the dataset decides.
    """

    def __init__(self, dataset: ResumableDataset, num_workers: int = 0, **options: Any) -> None:
        if given := {"batch_size", "sampler", "batch_sampler", "shuffle", "drop_last", "collate_fn"} & set(options):
            raise UserError(
                f"{', '.join(sorted(given))}: the dataset makes whole batches. Give these settings to the dataset"
            )
        if options.get("in_order") is False:
            raise UserError("in_order=False: the order of batches would not be reproducible. Leave out in_order")
        self.dataset = dataset
        self.skipped = 0  # samples of delivered batches that could not be read
        self.texts, self.cut = 0, 0  # texts of delivered batches that became ids; the number of them that were cut
        # DataLoader draws a number when it starts. A separate generator leaves the trainer's unchanged.
        self._options = {"num_workers": num_workers, "generator": torch.Generator(), **options}
        self._step = 0
        self._running: Iterator[Batch] | None = None

    @property
    def step(self) -> int:
        """Global steps delivered so far."""
        return self._step

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""
        return self._step // self.dataset.steps.per_epoch

    def __len__(self) -> int:
        """Batches of one iteration. Raises TypeError if it does not end."""
        return len(self.dataset)

    def __iter__(self) -> Iterator[Batch]:
        training = self.dataset.split == "train"
        if not training:
            self._step = 0
            self.close()
        end = self.dataset._boundary(self._step)
        while self._step != end:
            if self._running is None:
                steps = _FromStep(self.dataset, self._step, None if training else end)
                self._running = iter(DataLoader(steps, batch_size=None, **self._options))
            try:
                batch = next(self._running)
            except BaseException:
                self.close()
                raise
            assert batch["step"] == self._step, f"step {batch['step']} came in place of {self._step}"
            self._step += 1
            self.skipped += batch["skipped"]
            if "cut" in batch:
                self.texts += batch["cut"].numel()
                self.cut += int((batch["cut"] > 0).sum())
            yield batch

    def state_dict(self) -> dict[str, int]:
        """The position after the last delivered batch, as a few integers."""
        return self.dataset.state_dict(self._step)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state, as `CaptionDataset.load_state_dict` does; prefetched batches are dropped.

        Raises UserError for a state of a worker's copy, of other settings or of another version, DatasetError if the
        data has changed.
        """
        if state.get("stride", 1) != 1:
            raise UserError("this is the state of a worker's dataset. Save the state of the loader")
        self.dataset.load_state_dict(state)
        self._step = int(state["step"])
        self.close()

    def close(self) -> None:
        """Stop the workers. The next iteration starts new ones."""
        running, self._running = self._running, None
        # DataLoader's iterator does the same when it is freed. After a worker's error it is in a reference cycle:
        # the garbage collector then closes its queues first, and waits for workers that receive no request to end.
        if end := getattr(running, "_shutdown_workers", None):
            end()


class _FromStep(IterableDataset):  # type: ignore[type-arg,unused-ignore]
    """The batches of all steps from `start` on."""

    def __init__(self, dataset: ResumableDataset, start: int, end: int | None) -> None:
        super().__init__()
        self._dataset, self._start, self._end = dataset, start, end

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        first = self._start + number
        for step in count(first, workers) if self._end is None else range(first, self._end, workers):
            yield shared(self._dataset.batch(step))
