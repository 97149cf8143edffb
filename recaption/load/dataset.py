"""The torch dataset: whole batches, each a pure function of its global step."""

from __future__ import annotations

import logging
import os
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt

from recaption.errors import DatasetError, UserError
from recaption.load import pixels, texts
from recaption.load.cache import Cache
from recaption.load.chance import Chance, kept_globals, seed_globals
from recaption.load.files import Files
from recaption.load.layout import Layout, Verify, find
from recaption.load.order import Order, mix
from recaption.load.policy import Drawn, Policy, from_manifest
from recaption.load.shards import Indexed, Sample, Shards, Tars
from recaption.load.stepped import Batch, Stepped
from recaption.load.steps import DropLast, Steps

import torch  # isort: skip - after .stepped, whose error message names the package to install
from torch.utils.data import get_worker_info  # isort: skip

_TRIES: Final = 16  # replacements tried for an unreadable sample before the whole dataset is reported as broken
_QUIET: Final = 60.0  # seconds between two warnings about skipped samples

_log = logging.getLogger("recaption.load")


@dataclass(slots=True)
class _Slot:
    """A slot in a batch with its sample: the one of this position, or a replacement for an unreadable one."""

    epoch: int
    index: int
    failed: int = 0  # samples that could not be read
    sample: Sample = field(init=False)
    drawn: list[Drawn] = field(init=False)


class CaptionDataset(Stepped):
    """Images with texts drawn from their captions, in batches, for `DataLoader(dataset, batch_size=None)` or
    `recaption.load.loader`, which also counts the delivered batches.

    `path`: an output folder, a build, or tars (a folder, a pattern, a list), on disk or behind an fsspec URL.
    `policy`: how texts are drawn (recaption.load.policy). Default: the policy that the manifest suggests.
    `transform`: applied to the decoded image. `random`, `numpy.random` and torch are seeded for each sample.
    `tokenizer`: a name (`clip` for that of open_clip, a tokenizers JSON file, a hub id), a tokenizer of transformers,
        the tokenizers library or open_clip, or any function that maps a list of texts to ids [n, L].
    `length`: tokens per text, including start, end and padding: a number, or one for each role of text:
        {"long": 248, "short": 77}. A text drawn only from raw and short captions is short. Default: 77.
    `overflow`: how to shorten longer texts: "drop_tail_sentences", "truncate" (keeps the end token) or "error".
    `token_ids`: use the ids stored with the build instead of the tokenizer wherever they give exactly the text. True:
        if the tokenizer is given by name and the build has ids of that name. A name: use these ids, with a tokenizer
        that is not given by name. False: never.
    `text_mask`: add a mask to batches that marks tokens that are not padding.
    `batch_size`: samples per step on this rank. `rank` and `world_size` default to those of torch.distributed, else of
        the environment (RANK, WORLD_SIZE), else 0 of 1. Set them if ranks share samples (tensor parallelism).
    `split`: "train" is shuffled again in each epoch. "val" is in stored order, each sample once, with the same texts
        each time. Tars that recaption did not write have no splits.
    `epochs`: the number of epochs per iteration. None: it does not end. A new iteration starts with the next epoch.
    `drop_last`: "global" omits samples that do not fill a global batch, "pad" fills the batch up (always so for val).
    `block`: shuffle within blocks of this many shards (Parquet: row groups) instead of globally. None: the default of
        the format. 0: globally.
    `decode`: "pil" gives transforms a PIL image, "torchvision" a uint8 tensor [3, H, W], "simplejpeg" an array
        [H, W, 3]; or a function of the bytes. Images are upright. A sidecar uses the source's bytes, so a decoded image
        is rotated by the record's orientation, and a JPEG is decoded without its EXIF.
    `output`: "uint8" or "float32", the dtype for images that `transform` does not return as tensors.
    `on_error`: "raise", or "skip": a sample that cannot be read is replaced by another one and counted.
    `tags`: decode the records' tags, for policies that use them. `strings`: add keys and texts to batches.
    `source`: for a sidecar, the current folder of its source's files.
    `verify`: how to check each file of the dataset when a process opens it. "size" compares its size with the manifest,
        or, for tars that recaption did not write, with the size at the time the dataset was opened. "sha256" also
        compares the whole content with the manifest, once per process. Other tars have no manifest, so they are read
        whole when the dataset is opened, and a resume is refused if their content has changed since the state was
        saved. A file that is changed in place while it is open, without a change of size, is not detected. Images of a
        sidecar are always checked against their sha256.
    `cache`: a folder on a local disk for whole remote files, up to `cache_bytes`, and for the indexes of tars that
        recaption did not write. If the dataset does not fit, set `block`; otherwise files are fetched repeatedly.

    A batch is a dict, B samples of K texts:
        images      [B, 3, H, W], or a list where sizes differ
        texts       int64 [B, K, L]; without a tokenizer B lists of K strings
        cut         float32 [B, K]: the share of a text's tokens that was cut off; not with a function as tokenizer
        text_mask   bool [B, K, L], with `text_mask`: False at padding
        caption, idx, generation   int64 [B, K]: the origin of a text; `generations` has the names (load/texts.py)
        weight      float32 [B, K]
        index       int64 [B]: the number of the sample, for `sample`
        mask        bool [B]: False for a sample that is padding or a replacement: exclude it from evaluations
        step, epoch, skipped       int: global step, epoch, samples of this batch that could not be read
        keys, strings              with `strings`: list of B, list of B lists of K

    Raises UserError for invalid arguments, DatasetError (with shard and key) for invalid data.
    """

    def __init__(
        self,
        path: str | Path | Sequence[str],
        *,
        batch_size: int,
        policy: Policy | None = None,
        transform: Callable[[Any], Any] | None = None,
        tokenizer: Any = None,
        length: texts.Length | None = None,
        overflow: texts.Overflow = "drop_tail_sentences",
        token_ids: bool | str = True,
        text_mask: bool = False,
        seed: int = 0,
        split: str = "train",
        epochs: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: DropLast = "global",
        block: int | None = None,
        decode: pixels.Decode = "pil",
        output: pixels.Output = "uint8",
        on_error: Literal["raise", "skip"] = "raise",
        tags: bool = False,
        strings: bool = False,
        source: str | Path | None = None,
        cache: str | Path | None = None,
        cache_bytes: int = 200 << 30,
        verify: Verify = "size",
    ) -> None:
        among("split", split, ("train", "val"))
        among("drop_last", drop_last, ("global", "pad"))
        among("output", output, ("uint8", "float32"))
        among("on_error", on_error, ("raise", "skip"))
        among("verify", verify, ("size", "sha256"))
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it has to be at least 1")
        rank, world_size = _place(rank, world_size)
        self._transform, self._output = transform, output
        self._decode = pixels.decoder(decode)
        self._on_error, self._strings = on_error, strings
        files = Files(Cache(cache, cache_bytes) if cache else None)
        layout = find(str(path) if isinstance(path, Path) else path, split, files, verify=verify)
        files.expect(layout.expected)
        self._shards = _open(layout, files, split=split, tags=tags, source=str(source) if source else None)
        self._names = [file.shard for file in layout.files]
        self._ends = list(accumulate(self._shards.counts))
        training = split == "train"
        steps = Steps(
            samples=self._ends[-1] if self._ends else 0,
            batch_size=batch_size,
            world_size=world_size,
            drop_last=drop_last if training else "pad",
        )
        fingerprint = layout.fingerprint(split, self._shards.counts)
        super().__init__(steps, seed=seed, rank=rank, epochs=epochs, split=split, fingerprint=fingerprint)
        self._block = self._shards.block if block is None else block or None
        self._order = Order(self._shards.units, seed, block=self._block, shuffle=training)
        self.generations = ("raw", *(one["id"] for one in layout.manifest.get("generations", ())))
        self._policy = policy or _suggested(layout)
        self._texts, self._ids = texts.maker(
            tokenizer, layout, files, length=length, overflow=overflow, token_ids=token_ids, mask=text_mask
        )
        self._chance = Chance(seed)
        self._warned, self._unsaid = -_QUIET, 0

    def batch(self, step: int) -> Batch:
        """The batch of this rank at a global step, counted from 0 over all epochs, independent of earlier ones."""
        epoch, positions, mask = self.steps.batch(step, self.rank)
        made = self.load(step, [epoch] * len(positions), self._order(epoch, positions).tolist(), mask)
        return {**made, "step": step, "epoch": epoch}

    def at(self, numbers: npt.NDArray[np.int64]) -> tuple[list[int], list[int]]:
        """Epoch and index of the samples with these numbers, counted on and on over all epochs, none left out."""
        epochs, positions = np.divmod(numbers, self.steps.samples)
        found = np.empty_like(numbers)
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
        """A batch of any size with these samples in these epochs, without `step` and `epoch`."""
        with kept_globals(self._transform is not None and get_worker_info() is None):
            return self._load(step, epochs, indices, mask)

    def _load(self, step: int, epochs: Sequence[int], indices: Sequence[int], mask: npt.NDArray[np.bool_]) -> Batch:
        # all reading first, then all decoding: neither throws the other out of the processor's caches
        slots = [_Slot(epoch, index) for epoch, index in zip(epochs, indices, strict=True)]
        for slot in slots:
            self._fill(slot, step)
        images = pixels.Stack(len(slots))
        for slot in slots:
            images.add(self._image(slot, step))
        said, drawn = self._texts([slot.sample for slot in slots], [slot.drawn for slot in slots])
        records = [slot.sample.record for slot in slots]
        made: Batch = {
            "images": images.whole(),
            **said,
            **texts.provenance(records, drawn, self.generations),
            "index": torch.tensor([slot.index for slot in slots]),
            "mask": torch.from_numpy(mask & [not slot.failed for slot in slots]),
            "skipped": sum(slot.failed for slot in slots),
        }
        if self._strings:
            made |= {"keys": [record.key for record in records], "strings": [[o.text for o in of] for of in drawn]}
        return made

    def sample(self, index: int) -> Sample:
        """A sample by its number: the record, and the bytes of the image. Raises DatasetError."""
        if not 0 <= index < self.steps.samples:
            raise IndexError(f"sample {index} of {self.steps.samples}")
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
                chance = self._chance.of(self._told(slot.epoch), slot.index)
                slot.drawn = self._policy(slot.sample.record, chance, step)
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
            seed_globals(self.seed, self._told(slot.epoch), slot.index)
            image = self._transform(image)
        return pixels.to_tensor(image, self._output)

    def _decoded(self, sample: Sample) -> Any:
        try:
            return pixels.decoded(sample.image, self._decode, sample.orientation)
        except Exception as error:  # Pillow has many, and a decoder of the user's has others
            what = f"the image does not decode: {type(error).__name__}: {error}"
            raise DatasetError(what, key=sample.record.key, shard=sample.record.shard) from error

    def _replace(self, slot: _Slot, error: DatasetError) -> None:
        """Another sample for the slot, or the error."""
        if self._on_error == "raise":
            raise error
        if slot.failed == _TRIES:
            raise DatasetError(f"none of {_TRIES + 1} samples could be read; the last: {error}") from error
        self._say(error)
        slot.index = mix(self.seed, slot.epoch, slot.index, slot.failed) % self.steps.samples
        slot.failed += 1

    def _told(self, epoch: int) -> int:
        """The epoch that seeds the random numbers: 0 for evaluations, so that they are identical."""
        return epoch if self.split == "train" else 0

    def _say(self, error: DatasetError) -> None:
        self._unsaid += 1
        if time.monotonic() - self._warned >= _QUIET:
            _log.warning("skipped %d samples that cannot be read; the last: %s", self._unsaid, error)
            self._warned, self._unsaid = time.monotonic(), 0

    def _identity(self) -> dict[str, int]:
        return {**super()._identity(), "block": self._block or 0}


def _open(layout: Layout, files: Files, *, split: str, tags: bool, source: str | None) -> Shards:
    if layout.format == "webdataset":
        return Indexed(layout, files, tags=tags)
    if layout.format == "tars":
        return Tars(layout, files, tags=tags)
    from recaption.load.parquet import Embedded, Sidecar

    if layout.format == "parquet":
        return Embedded(layout, files, tags=tags)
    return Sidecar(layout, files, split=split, tags=tags, source=source)


def _suggested(layout: Layout) -> Policy:
    if not layout.manifest:
        raise UserError(
            "tars that recaption has not written suggest no policy. Give one, such as "
            "policy=recaption.load.policy.raw()"
        )
    return from_manifest(layout.manifest["sampling"])


def _place(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Rank and world size: as given, of torch.distributed, of the environment, or 0 of 1. Raises UserError."""
    if (rank is None) != (world_size is None):
        raise UserError("give rank and world_size together, or neither")
    if rank is None or world_size is None:
        from torch import distributed

        if distributed.is_available() and distributed.is_initialized():
            rank, world_size = distributed.get_rank(), distributed.get_world_size()
        else:
            rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if not 0 <= rank < world_size:
        raise UserError(f"rank is {rank} of world_size {world_size}; ranks count from 0")
    return rank, world_size


def among(name: str, given: str, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise UserError(f"{name} is {given!r}; it can be {' or '.join(allowed)}")
