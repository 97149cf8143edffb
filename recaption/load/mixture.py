"""Mixes several datasets. The dataset of each slot in a step is computed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recaption.errors import UserError
from recaption.load.dataset import CaptionDataset
from recaption.load.order import Lanes, LaneStreams, Permutation
from recaption.load.resumable import Batch, BatchSchedule, ResumableDataset

import torch  # isort: skip - after .dataset, which raises MissingExtra without torch
from torch.utils.data import get_worker_info  # isort: skip

_PERIOD: Final = 1 << 14  # slots after which the schedule repeats; the resolution of the shares


class Mixture(ResumableDataset):
    """Samples of several datasets, each in its share of every batch.

        >>> mixed = Mixture([(recaptioned, 0.8), (raw_only, 0.2)])
        >>> for batch in loader(mixed, num_workers=8): ...

    `datasets`: training datasets with the same batch_size, rank and world_size, and texts of the same K and length; the
        weights are shares of the samples and may have any sum. Each dataset is repeated, with every sample once in each
        of its own epochs.
    `epoch_samples`: the size of an epoch of the mixture; default: the samples of all datasets.
    `epochs`: as in CaptionDataset, in epochs of the mixture.

    A batch is like that of a CaptionDataset, with `dataset` int64 [B], the number of each sample's dataset:
    `mixed.datasets[d].sample(index)` has its record. `generation` refers to this mixture's `generations`.

    Within a global batch the samples are in random order. The sample at (step, slot) depends only on the seed, the
    global batch and the datasets. If datasets are read in pieces (`lanes`, the default on object stores), each rank and
    worker reads other pieces of all of them: then the order depends on the lanes too, only the samples of each rank are
    in random order, and a lane with one sample fewer than another begins the next epochs of a dataset earlier. Raises
    UserError if the datasets cannot be mixed.
    """

    def __init__(
        self,
        datasets: Sequence[tuple[CaptionDataset, float]],
        *,
        seed: int = 0,
        epochs: int | None = None,
        epoch_samples: int | None = None,
    ) -> None:
        self.datasets = tuple(dataset for dataset, _ in datasets)
        self._schedule, self._counts = _schedule([float(weight) for _, weight in datasets])
        self._before = np.stack([np.cumsum(self._schedule == n) - (self._schedule == n) for n in range(len(datasets))])
        first = self.datasets[0]
        for n, dataset in enumerate(self.datasets):
            if dataset.split != "train":
                raise UserError(
                    f"dataset {n} has split {dataset.split!r}; only training data can be mixed. "
                    "Evaluate each dataset separately"
                )
            mine, theirs = ((d.steps.batch_size, d.rank, d.steps.world_size) for d in (first, dataset))
            if mine != theirs:
                raise UserError(
                    f"dataset {n} has batch_size, rank and world_size {theirs}, dataset 0 has {mine}; "
                    "give all datasets the same"
                )
        if epoch_samples is not None and epoch_samples < 1:
            raise UserError(f"epoch_samples is {epoch_samples}; it must be at least 1")
        steps = BatchSchedule(
            samples=epoch_samples or sum(dataset.steps.samples for dataset in self.datasets),
            batch_size=first.steps.batch_size,
            world_size=first.steps.world_size,
            drop_last="global",
        )
        self._lanes = _lanes(self.datasets, steps.global_batch, seed)
        super().__init__(
            steps, seed=seed, rank=first.rank, epochs=epochs, split="train", fingerprint=self._fingerprint()
        )
        self.generations = tuple(dict.fromkeys(name for dataset in self.datasets for name in dataset.generations))
        numbers = {name: n for n, name in enumerate(self.generations)}
        self._renumbered = [torch.tensor([*(numbers[g] for g in d.generations), -1]) for d in self.datasets]

    def batch(self, step: int) -> Batch:
        """The batch of this rank at a global step, counted from 0 over all epochs. Stateless."""
        whose, numbers, lane = self._slots(step)
        lanes = self._lanes.lanes if self._lanes else 1
        made, places = [], []
        for n, dataset in enumerate(self.datasets):
            mine = np.flatnonzero(whose == n)
            if len(mine):
                epochs, indices = dataset.at(numbers[mine], lane[mine], lanes)
                one = dataset.load(step, epochs, indices, np.ones(len(mine), bool))
                made.append({**one, "generation": self._renumbered[n][one["generation"]]})
                places.append(mine)
        merged = _merged(made, np.argsort(np.concatenate(places)))
        return {
            **merged,
            "dataset": torch.from_numpy(whose),
            "step": step,
            "epoch": step // self.steps.per_epoch,
        }

    def _slots(self, step: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For this rank's slots in a global step: the dataset [B], the number of its sample [B], counted over all
        epochs of that dataset in the lane, and the lane [B]."""
        size, whole = self.steps.batch_size, self.steps.global_batch
        here = np.arange(self.rank * size, (self.rank + 1) * size)
        if self._lanes is None:
            lane = first = np.zeros_like(here)
            places = step * whole + Permutation(whole, self.seed, step)(here)
        else:
            lane, places = self._lanes(step, here)
            first = lane * _PERIOD // self._lanes.lanes  # so that lanes are not all at the same dataset
            seen = self._lanes.seen(self.rank * size, size, self._workers())
            for dataset in self.datasets:
                dataset.keep_lanes(seen)
        rounds, at = np.divmod(first + places, _PERIOD)
        whose = self._schedule[at]
        return whose, rounds * self._counts[whose] + self._before[whose, at] - self._before[whose, first], lane

    @staticmethod
    def _workers() -> int:
        worker = get_worker_info()
        return worker.num_workers if worker else 1

    def _identity(self) -> dict[str, int]:
        # `lanes` is compared first: other lanes also change the fingerprint, whose message would blame the data.
        return {"lanes": self._lanes.lanes // Lanes.PHASES if self._lanes else 0, **super()._identity()}

    def _fingerprint(self) -> int:
        """A number below 2^63 that identifies the datasets, their orders and their shares."""
        digest = hashlib.sha256()
        for dataset, count in zip(self.datasets, self._counts.tolist(), strict=True):
            identity = {name: value for name, value in dataset._identity().items() if name not in ("pad", "lanes")}
            digest.update(f"{count} {identity}\n".encode())
        return int.from_bytes(digest.digest()[:8], "big") >> 1


def _lanes(datasets: Sequence[CaptionDataset], global_batch: int, seed: int) -> LaneStreams | None:
    """How ranks and workers divide datasets that are read in pieces; None if none is. Raises UserError."""
    given = {n: lanes for n, dataset in enumerate(datasets) if (lanes := dataset._identity()["lanes"])}
    if not given:
        return None
    if len(set(given.values())) > 1:
        found = ", ".join(f"dataset {n} has lanes={lanes}" for n, lanes in given.items())
        raise UserError(f"{found}; give all datasets the same")
    streams = LaneStreams(global_batch, next(iter(given.values())), seed)  # which divide the batch of each dataset
    for n, dataset in enumerate(datasets):
        if dataset.steps.samples < streams.lanes:
            raise UserError(
                f"dataset {n} has {dataset.steps.samples} samples, fewer than the {streams.lanes} lanes of this "
                f"mixture ({Lanes.PHASES} x lanes, which is {streams.lanes // Lanes.PHASES}). Open all datasets with "
                "smaller lanes, or with lanes=0"
            )
    return streams


def _schedule(weights: Sequence[float]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The dataset of each slot in a period, as evenly spread as possible, and the number of slots of each dataset."""
    if not weights:
        raise UserError("there is no dataset to mix; give a list of (dataset, weight)")
    total = sum(weights)
    if any(not math.isfinite(w) or w <= 0 or w * _PERIOD < total for w in weights):
        raise UserError(
            f"the weights are {', '.join(f'{w:g}' for w in weights)}; each must be above 0, and at least 1/{_PERIOD} "
            "of their sum"
        )
    exact = np.array(weights) / total * _PERIOD
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: _PERIOD - counts.sum()]] += 1  # the largest remainders
    times = np.concatenate([(np.arange(count) + 0.5) / count for count in counts.tolist()])
    return np.repeat(np.arange(len(counts)), counts)[np.argsort(times, kind="stable")], counts


def _merged(batches: Sequence[Mapping[str, Any]], order: npt.NDArray[np.int64]) -> Batch:
    """Join batches; `order` is a permutation of their samples."""
    made: Batch = {}
    for name in dict.fromkeys(name for batch in batches for name in batch):
        if any(name not in batch for batch in batches):
            raise UserError(
                f"only some of the datasets have {name!r} in their batches. Give all datasets the same settings"
            )
        parts = [batch[name] for batch in batches]
        if name == "skipped":
            made[name] = sum(parts)
        elif any(isinstance(part, list) for part in parts) or (name == "images" and len(_shapes(parts)) > 1):
            everything = [one for part in parts for one in part]
            made[name] = [everything[n] for n in order.tolist()]
        elif len(shapes := _shapes(parts)) > 1:
            raise UserError(
                f"{name} of the datasets have shapes {', '.join(map(str, shapes))}: their policies must give the "
                "same number of texts, and their tokenizers ids of the same length"
            )
        else:
            made[name] = torch.cat(parts)[torch.from_numpy(order)]
    return made


def _shapes(parts: Sequence[Any]) -> list[tuple[int, ...]]:
    """The shapes of one sample in each part."""
    return sorted({tuple(part.shape[1:]) for part in parts})
