"""Datasets that are iterated by global steps and resume from a few integers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any, Final

from recaption.errors import DatasetError, MissingExtra, UserError
from recaption.load.steps import Steps

try:
    import torch
    from torch.utils.data import IterableDataset, get_worker_info
except ImportError as error:
    raise MissingExtra("torch", "train") from error

Batch = dict[str, Any]

STATE_VERSION: Final = 1


_log = logging.getLogger("recaption.load")
_MOST_WORKERS: Final = 1024


class Shared:
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
        """`worker` has made all of its batches of `iteration`, which covers these steps.

        The last worker moves the start behind them, unless it was set to somewhere else meanwhile."""
        self._ended[worker] = iteration
        if bool((self._ended[:workers] == iteration).all()) and self.start in steps:
            self._move(steps.stop, self.times_set + 1)

    def _move(self, step: int, times_set: int) -> None:
        self._start[0] = step
        self._start[1] = times_set


class Stepped(IterableDataset):  # type: ignore[type-arg,unused-ignore]
    """Whole batches, each a pure function of its global step. A subclass defines the batch."""

    def __init__(self, steps: Steps, *, seed: int, rank: int, epochs: int | None, split: str, fingerprint: int) -> None:
        super().__init__()
        if epochs is not None and epochs < 1:
            raise UserError(f"epochs is {epochs}; it has to be at least 1, or None for no end")
        self.steps, self.seed, self.rank, self.epochs, self.split = steps, seed, rank, epochs, split
        self.fingerprint = fingerprint
        self._step, self._stride, self._end = 0, 1, -1
        self._shared = Shared()
        self._seen = 0  # `times_set` of the shared start that `_step` follows from
        self._loaded = False  # this worker's own state was loaded for the next iteration
        self._iterations = 0  # of this copy
        self._repeat_warned = False

    def batch(self, step: int) -> Batch:
        """The batch of this rank at a global step, counted from 0 over all epochs, independent of earlier ones."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Batch]:
        """Worker w of W makes steps w, w + W, …, so that DataLoader's round robin gives all of them in order.

        After an iteration that ended early, the next one continues after the last batch if there are no workers. With
        workers, it begins the same epoch again and warns once: call `set_epoch` before each epoch.
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
                "recaption.load.loader, whose state knows no workers"
            )
        self._stride = workers
        self._iterations += 1
        iteration = (worker.seed - worker.id) * 1_000_003 + self._iterations & (1 << 62) - 1 if worker else 0
        end = self._end
        while end < 0 or self._step < end:
            step, self._step = self._step, self._step + workers
            yield self.batch(step)
        self._step, self._stride = end, 1
        if worker is None:
            self._shared.set(end)
            self._seen = self._shared.times_set
        else:
            self._shared.end(number, workers, iteration, range(end - len(self), end))

    def _follow(self) -> None:
        """Take up a start that was set elsewhere: by workers that have finished an epoch, or by `set_epoch`."""
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
        """Steps of one iteration. Raises TypeError if it does not end."""
        if self.epochs is None and self.split == "train":
            raise TypeError("the iteration does not end: epochs is None")
        return (self.epochs or 1) * self.steps.per_epoch

    def _boundary(self, step: int) -> int:
        """The step before which an iteration that begins at `step` ends; -1: never."""
        if self.epochs is None and self.split == "train":
            return -1
        return (step // len(self) + 1) * len(self)

    def set_epoch(self, epoch: int) -> None:
        """Begin the next iteration with this epoch, also in workers that are already running.

        Not needed after a finished iteration: the next one starts with the next epoch."""
        self._set(epoch * self.steps.per_epoch)

    def _set(self, step: int) -> None:
        self._shared.set(step)
        self._step, self._stride, self._seen, self._loaded = step, 1, self._shared.times_set, False

    def state_dict(self, step: int | None = None) -> dict[str, int]:
        """What `load_state_dict` needs to go on before global step `step` (default: after the batch that this copy of
        the dataset made last)."""
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
        """Resume from the saved state: the same samples and texts in the same order, none missing, none repeated.

        The number of workers may differ, and of ranks where the global batch stays. Raises UserError if the state is
        of other settings, DatasetError if the data has changed.
        """
        if state.get("version") != STATE_VERSION:
            raise UserError(f"the state has version {state.get('version')}; this recaption reads {STATE_VERSION}")
        try:
            steps = {name: int(state[name]) for name in ("step", "stride", "end")}
            theirs = {name: int(state[name]) for name in self._identity()}
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"this is not the state of a {type(self).__name__}: {error!r}") from error
        for name, mine in self._identity().items():
            if theirs[name] != mine:
                raise self._differs(name, theirs[name], mine)
        if steps["stride"] == 1:
            self._set(steps["step"])
            self._end = steps["end"]
        else:  # of one worker's copy: it holds for that copy alone
            self._step, self._stride, self._end = steps["step"], steps["stride"], steps["end"]
            self._loaded = True
            self._seen = self._shared.times_set

    def _identity(self) -> dict[str, int]:
        """The settings that determine the order. They must be the same after a resume."""
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
                "or a file has changed, so the order of samples is another. Load the build of then, or begin anew"
            )
        if name == "global_batch":
            return UserError(
                f"the state was saved with global batches of {theirs}, and batch_size {self.steps.batch_size} on "
                f"{self.steps.world_size} ranks makes {mine}. Keep batch_size x world_size as it was"
            )
        said = {"pad": 'drop_last="pad"'}.get(name, name)
        return UserError(
            f"the state was saved with {said} {theirs}, and this dataset has {mine}. Give what was given then"
        )
