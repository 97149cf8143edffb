"""A DataLoader that counts the batches that it has delivered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from recaption.errors import UserError
from recaption.load.stepped import Batch, Stepped

# after .stepped, whose error message names the package to install
from torch import Generator  # isort: skip
from torch.utils.data import DataLoader, IterableDataset, get_worker_info  # isort: skip


def loader(dataset: Stepped, num_workers: int = 0, **options: Any) -> CaptionLoader:
    """A `CaptionLoader` of a CaptionDataset or Mixture; `options` are DataLoader's (pin_memory, prefetch_factor, …)."""
    return CaptionLoader(dataset, num_workers, **options)


class CaptionLoader:
    """Iterates over a CaptionDataset or a Mixture with worker processes, and resumes exactly.

    Its state counts delivered batches, not those that workers have prefetched. So it is valid at any time, and a
    resumed run may use a different number of workers:

        >>> batches = loader(dataset, num_workers=8, pin_memory=True)
        >>> for epoch in range(batches.epoch, 30):          # with epochs=1
        ...     for batch in batches:
        ...         train(batch)
        ...         save(batches.state_dict())              # after this batch

    Training data: an iteration continues where the last one ended, also after a `break`. Workers stay alive and
    prefetch across epochs. Validation data: each iteration begins at the first sample.
    """

    def __init__(self, dataset: Stepped, num_workers: int = 0, **options: Any) -> None:
        if given := {"batch_size", "sampler", "batch_sampler", "shuffle", "drop_last", "collate_fn"} & set(options):
            raise UserError(
                f"{', '.join(sorted(given))}: the dataset makes whole batches itself; give it to the dataset"
            )
        if options.get("in_order") is False:
            raise UserError("in_order=False: batches would come in another order each time. Leave it out")
        self.dataset = dataset
        self.skipped = 0  # samples of delivered batches that could not be read
        self.texts, self.cut = 0, 0  # tokenised texts of delivered batches, and how many of these were too long
        # DataLoader draws a number when it starts: from a generator of ours, so that the trainer's is left alone
        self._options = {"num_workers": num_workers, "generator": Generator(), **options}
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
        """Batches of a whole iteration. Raises TypeError if it does not end."""
        return len(self.dataset)

    def __iter__(self) -> Iterator[Batch]:
        training = self.dataset.split == "train"
        if not training:
            self._step = 0
            self.close()
        end = self.dataset._boundary(self._step)
        while self._step != end:
            if self._running is None:
                steps = _Ahead(self.dataset, self._step, None if training else end)
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
        """A few integers: what comes after the batch that was delivered last."""
        return self.dataset.state_dict(self._step)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """As `CaptionDataset.load_state_dict`; what workers have made ahead is thrown away."""
        if state.get("stride", 1) != 1:
            raise UserError("the state is that of a worker's dataset; save that of the loader")
        self.dataset.load_state_dict(state)
        self._step = int(state["step"])
        self.close()

    def close(self) -> None:
        """End the workers. The next iteration starts others."""
        running, self._running = self._running, None
        # DataLoader's iterator does this when it is collected. A worker's error keeps it in a reference cycle, whose
        # collection destroys its queues first and then waits for workers that can no longer receive the signal to end.
        if end := getattr(running, "_shutdown_workers", None):
            end()


class _Ahead(IterableDataset):  # type: ignore[type-arg,unused-ignore]
    """The batches of all steps from `start` on."""

    def __init__(self, dataset: Stepped, start: int, end: int | None) -> None:
        super().__init__()
        self._dataset, self._start, self._end = dataset, start, end

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, workers = (worker.id, worker.num_workers) if worker else (0, 1)
        first = self._start + number
        for step in count(first, workers) if self._end is None else range(first, self._end, workers):
            yield self._dataset.batch(step)
