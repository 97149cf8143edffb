"""The torch dataset: whole batches, each a pure function of its global step."""

from __future__ import annotations

import logging
import os
import sys
import time
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from recaption.errors import DatasetError, UserError
from recaption.load import balance, pixels, texts
from recaption.load.balance import Balance
from recaption.load.cache import Cache
from recaption.load.config import LoaderConfig
from recaption.load.files import Files
from recaption.load.layout import Layout, find
from recaption.load.order import Lanes, Order, mix
from recaption.load.plain import by_requests, open_shards
from recaption.load.policy import DrawnText, Policy, from_manifest
from recaption.load.randomness import SampleGenerators, preserved_globals, seed_globals
from recaption.load.resumable import Batch, BatchSchedule, ResumableDataset
from recaption.load.shards import Sample

import torch  # isort: skip - after .resumable, which raises MissingExtra without torch
from torch.utils.data import get_worker_info  # isort: skip

_TRIES: Final = 16  # replacements tried for one unreadable sample before an error is raised
_QUIET: Final = 60.0  # seconds between warnings about skipped samples

_log = logging.getLogger("recaption.load")


@dataclass(slots=True)
class _Slot:
    """A position in a batch, and its sample: the scheduled one, or a replacement."""

    epoch: int
    index: int
    failed: int = 0  # samples that could not be read
    sample: Sample = field(init=False)
    drawn: list[DrawnText] = field(init=False)


class CaptionDataset(ResumableDataset):
    """Images with texts drawn from their captions, in batches, for `DataLoader(dataset, batch_size=None)` or
    `recaption.load.loader`, which also counts delivered batches.

    `path`: an output folder, a build, or tars (a folder, a pattern, a list), on disk or behind an fsspec URL.
    Settings are a `LoaderConfig`, or its fields as keywords, which replace those of a given `config`:
    `CaptionDataset(path, batch_size=256)`, `CaptionDataset(path, config)`, `CaptionDataset(path, config, split="val")`.

    A batch is a dict, B samples of K texts:
        images      [B, 3, H, W], or a list where sizes differ
        texts       int64 [B, K, L]; without a tokenizer B lists of K strings
        cut         float32 [B, K]: the share of a text's tokens that was cut; absent if the tokenizer is a function
        text_mask   bool [B, K, L], with `text_mask`: False at padding
        caption, idx, generation   int64 [B, K]: origin of each text; `generations` names the last (load/texts.py)
        weight      float32 [B, K]
        index       int64 [B]: the number of the sample, for `sample`
        mask        bool [B]: False for a padding or replacement sample: exclude it from evaluations
        step, epoch, skipped       int: global step, epoch, samples of this batch that could not be read
        keys, strings              with `strings`: list of B, list of B lists of K

    Raises UserError for invalid settings, DatasetError (with shard and key) for invalid data.
    """

    def __init__(self, path: str | Path | Sequence[str], config: LoaderConfig | None = None, **settings: Any) -> None:
        config = LoaderConfig(**settings) if config is None else replace(config, **settings)
        rank, world_size = _rank_and_world_size(config.rank, config.world_size)
        self._transform, self._output = config.transform, config.output
        self._decode = pixels.decoder(config.decode)
        self._on_error, self._strings = config.on_error, config.strings
        files = Files(Cache(config.cache, config.cache_bytes) if config.cache else None)
        layout = find(str(path) if isinstance(path, Path) else path, config.split, files, verify=config.verify)
        files.expect(layout.expected)
        training = config.split == "train"
        groups = config.lanes
        if groups is None:
            groups = world_size if by_requests(layout, files, config.source) and config.block != 0 else 0
        self._shards = open_shards(
            layout,
            files,
            split=config.split,
            tags=config.tags,
            source=config.source,
            # Without shuffling, a batch is of consecutive samples: larger pieces would be read by several ranks.
            per_piece=None if not groups else sys.maxsize if training else config.batch_size,
        )
        self._names = [file.shard for file in layout.files]
        self._ends = list(accumulate(self._shards.counts))
        self._samples = self._ends[-1] if self._ends else 0
        fingerprint = layout.fingerprint(config.split, self._shards.counts)
        self._block = self._shards.block if config.block is None else config.block or None
        order = Order(
            self._shards.units, config.seed, block=self._block, shuffle=training, families=self._shards.families
        )
        self._order: Order | Balance = order
        epoch_samples = self._samples
        if config.balance is not None and self._samples:
            p, draw = balance.opened(str(config.balance), layout, self._shards.counts, files)
            self._order = Balance(p, draw, order, config.seed)
            epoch_samples = self._order.samples
            fingerprint = mix(fingerprint, zlib.crc32(p.tobytes())) >> 1
        steps = BatchSchedule(
            samples=epoch_samples,
            batch_size=config.batch_size,
            world_size=world_size,
            drop_last=config.drop_last if training else "pad",
        )
        super().__init__(
            steps, seed=config.seed, rank=rank, epochs=config.epochs, split=config.split, fingerprint=fingerprint
        )
        if groups:
            self._shards.keep((self._block or 0) + 1)  # a batch may reach into the next block
        self._lanes = _lanes(steps, groups) if groups and training else None
        self._groups = groups if training else 0
        self.generations = ("raw", *(one["id"] for one in layout.manifest.get("generations", ())))
        self._policy = config.policy or _suggested_policy(layout)
        self._texts, self._ids = texts.maker(
            config.tokenizer,
            layout,
            files,
            length=config.length,
            overflow=config.overflow,
            token_ids=config.token_ids,
            mask=config.text_mask,
        )
        self._generators = SampleGenerators(config.seed)
        self._warned, self._unreported = -_QUIET, 0

    def batch(self, step: int) -> Batch:
        """The batch of this rank at a global step, counted from 0 over all epochs. Stateless."""
        epoch, positions, mask = self.steps.batch(step, self.rank)
        if self._lanes is not None:
            positions = self._lanes(positions)
            worker, size = get_worker_info(), self.steps.batch_size
            seen = self._lanes.seen(self.rank * size, size, worker.num_workers if worker else 1)
            self.keep_lanes(seen)
        made = self.load(step, [epoch] * len(positions), self._order(epoch, positions).tolist(), mask)
        return {**made, "step": step, "epoch": epoch}

    def keep_lanes(self, lanes: int) -> None:
        """Keep the pieces of this many lanes in memory, if the dataset is read in pieces."""
        if self._groups:
            self._shards.keep(lanes * ((self._block or 0) + 1))

    def at(
        self, numbers: npt.NDArray[np.int64], lane: npt.NDArray[np.int64] | int = 0, lanes: int = 1
    ) -> tuple[list[int], list[int]]:
        """Epoch and index of the samples with these numbers, counted over all epochs without dropped samples.

        With `lanes` (parts of consecutive places of each epoch), samples are numbered within the `lane` of each.
        """
        first = lane * self.steps.samples // lanes
        epochs, within = np.divmod(numbers, (lane + 1) * self.steps.samples // lanes - first)
        positions, found = first + within, np.empty_like(numbers)
        for epoch in np.unique(epochs).tolist():
            found[epochs == epoch] = self._order(epoch, positions[epochs == epoch])
        return epochs.tolist(), found.tolist()

    def load(
        self,
        step: int,
        epochs: Sequence[int],
        indices: Sequence[int],
        mask: npt.NDArray[np.bool_],
    ) -> Batch:
        """These samples in these epochs, as a batch of any size, without `step` and `epoch`."""
        with preserved_globals(self._transform is not None and get_worker_info() is None):
            return self._load(step, epochs, indices, mask)

    def _load(self, step: int, epochs: Sequence[int], indices: Sequence[int], mask: npt.NDArray[np.bool_]) -> Batch:
        # first all reading, then all decoding: alternating between them would evict the processor's caches
        slots = [_Slot(epoch, index) for epoch, index in zip(epochs, indices, strict=True)]
        for slot in slots:
            self._fill(slot, step)
        images = pixels.Stack(len(slots))
        for slot in slots:
            images.add(self._image(slot, step))
        made_texts, drawn = self._texts([slot.sample for slot in slots], [slot.drawn for slot in slots])
        records = [slot.sample.record for slot in slots]
        made: Batch = {
            "images": images.whole(),
            **made_texts,
            **texts.provenance(records, drawn, self.generations),
            "index": torch.tensor([slot.index for slot in slots]),
            "mask": torch.from_numpy(mask & [not slot.failed for slot in slots]),
            "skipped": sum(slot.failed for slot in slots),
        }
        if self._strings:
            made |= {"keys": [record.key for record in records], "strings": [[one.text for one in of] for of in drawn]}
        return made

    def sample(self, index: int) -> Sample:
        """A sample by its number: the record, and the bytes of the image. Raises IndexError, DatasetError."""
        if not 0 <= index < self._samples:
            raise IndexError(f"sample {index} of {self._samples}")
        file = bisect_right(self._ends, index)
        row = index - (self._ends[file - 1] if file else 0)
        try:
            sample = self._shards.read(file, row)
        except OSError as error:
            raise DatasetError(f"cannot read sample {row}: {error}", shard=self._names[file]) from error
        if not sample.record.captions:
            raise DatasetError("the record has no captions", key=sample.record.key, shard=self._names[file])
        return sample if self._ids is None else sample._replace(ids=self._ids.of(file, sample.row))

    def _fill(self, slot: _Slot, step: int) -> None:
        while True:
            try:
                slot.sample = self.sample(slot.index)
                rng = self._generators.of(self._random_epoch(slot.epoch), slot.index)
                slot.drawn = self._policy(slot.sample.record, rng, step)
                return
            except DatasetError as error:
                self._replace(slot, error)

    def _image(self, slot: _Slot, step: int) -> Any:
        while True:
            try:
                image = self._decoded(slot.sample)
                break
            except DatasetError as error:
                self._replace(slot, error)
                self._fill(slot, step)
        if self._transform is not None:
            seed_globals(self.seed, self._random_epoch(slot.epoch), slot.index)
            image = self._transform(image)
        return pixels.to_tensor(image, self._output)

    def _decoded(self, sample: Sample) -> Any:
        try:
            return pixels.decoded(sample.image, self._decode, sample.orientation)
        except Exception as error:  # Pillow and the user's decoder have different errors
            what = f"the image does not decode: {type(error).__name__}: {error}"
            raise DatasetError(what, key=sample.record.key, shard=sample.record.shard) from error

    def _replace(self, slot: _Slot, error: DatasetError) -> None:
        """Put another sample into the slot, or raise `error`."""
        if self._on_error == "raise":
            raise error
        if slot.failed == _TRIES:
            raise DatasetError(f"none of {_TRIES + 1} samples could be read; the last error: {error}") from error
        self._report(error)
        slot.index = mix(self.seed, slot.epoch, slot.index, slot.failed) % self._samples
        slot.failed += 1

    def _random_epoch(self, epoch: int) -> int:
        """The epoch that seeds randomness: always 0 for validation, so that evaluations are equal."""
        return epoch if self.split == "train" else 0

    def _report(self, error: DatasetError) -> None:
        self._unreported += 1
        if time.monotonic() - self._warned >= _QUIET:
            _log.warning("unreadable samples, which are skipped: %d; the last error: %s", self._unreported, error)
            self._warned, self._unreported = time.monotonic(), 0

    def _identity(self) -> dict[str, int]:
        return {**super()._identity(), "block": self._block or 0, "lanes": self._groups}


def _lanes(steps: BatchSchedule, groups: int) -> Lanes:
    try:
        return Lanes(steps.samples, steps.global_batch, groups)
    except ValueError as error:
        raise UserError(str(error)) from error


def _suggested_policy(layout: Layout) -> Policy:
    if not layout.manifest:
        raise UserError(
            "tars that recaption did not write have no default policy. Give one, for example "
            "policy=recaption.load.policy.raw()"
        )
    return from_manifest(layout.manifest["sampling"])


def _rank_and_world_size(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and world size: as given, from torch.distributed, from the environment, or 0 of 1. Raises UserError."""
    if (rank is None) != (world_size is None):
        raise UserError("give rank and world_size together, or neither")
    if rank is None or world_size is None:
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            rank, world_size = distributed.get_rank(), distributed.get_world_size()
        else:
            rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if not 0 <= rank < world_size:
        raise UserError(f"rank is {rank} and world_size is {world_size}; ranks run from 0 to world_size - 1")
    return rank, world_size
