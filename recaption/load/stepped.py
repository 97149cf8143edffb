"""What is iterated over by global steps, and resumes with a handful of integers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from recaption.errors import DatasetError, MissingExtra, UserError
from recaption.load.steps import Steps

try:
    from torch.utils.data import IterableDataset, get_worker_info
except ImportError as error:
    raise MissingExtra("torch", "train") from error

Batch = dict[str, Any]

STATE_VERSION: Final = 1


class Stepped(IterableDataset):  # type: ignore[type-arg,unused-ignore]
    """Whole batches, each a pure function of its global step. A subclass says what a batch is."""

    def __init__(self, steps: Steps, *, seed: int, rank: int, epochs: int | None, split: str, fingerprint: int) -> None:
        super().__init__()
        if epochs is not None and epochs < 1:
            raise UserError(f"epochs is {epochs}; it has to be at least 1, or None for no end")
        self.steps, self.seed, self.rank, self.epochs, self.split = steps, seed, rank, epochs, split
        self.fingerprint = fingerprint
        self._step, self._stride, self._end = 0, 1, -1

    def batch(self, step: int) -> Batch:
        """The batch of this rank at a global step, counted from 0 over all epochs; whatever was loaded before."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Batch]:
        """Worker w of W makes steps w, w + W, …, so that DataLoader's round robin gives all of them in order."""
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        if self._stride == 1:
            self._end = self._boundary(self._step)
            self._step += number
        elif self._stride != workers:
            raise UserError(
                f"the state was saved by one of {self._stride} workers, and there are {workers}. Use as many, or "
                "recaption.load.loader, whose state knows no workers"
            )
        self._stride = workers
        while self._end < 0 or self._step < self._end:
            step, self._step = self._step, self._step + workers
            yield self.batch(step)
        self._step, self._stride = self._end, 1

    def __len__(self) -> int:
        """Steps of one iteration. Raises TypeError where it does not end."""
        if self.epochs is None and self.split == "train":
            raise TypeError("the iteration does not end: epochs is None")
        return (self.epochs or 1) * self.steps.per_epoch

    def _boundary(self, step: int) -> int:
        """The step before which an iteration that begins at `step` ends; -1: never."""
        if self.epochs is None and self.split == "train":
            return -1
        return (step // len(self) + 1) * len(self)

    def set_epoch(self, epoch: int) -> None:
        """The next iteration begins with this epoch. Needed with a plain DataLoader, whose workers are copies of this
        dataset and leave it behind where it was."""
        self._step, self._stride = epoch * self.steps.per_epoch, 1

    def state_dict(self, step: int | None = None) -> dict[str, int]:
        """What `load_state_dict` needs to go on before global step `step` (default: after the batch that this copy of
        the dataset made last)."""
        return {
            "version": STATE_VERSION,
            "step": self._step if step is None else step,
            "stride": self._stride if step is None else 1,
            "end": self._end if step is None else -1,
            **self._identity(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where the state was taken: the same samples and texts in the same order, none missing, none twice.

        The number of workers may differ, and of ranks where the global batch stays. Raises UserError where the state is
        of other settings, DatasetError where the data has changed.
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
        self._step, self._stride, self._end = steps["step"], steps["stride"], steps["end"]

    def _identity(self) -> dict[str, int]:
        """What decides the order, and has to be the same after a resume."""
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
