"""The torch dataset: whole batches, each a pure function of its global step."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from recaption.errors import DatasetError, MissingExtra, UserError
from recaption.load import pixels, texts
from recaption.load.cache import Cache
from recaption.load.chance import Chance, kept_globals, seed_globals
from recaption.load.files import Files
from recaption.load.layout import Layout, find
from recaption.load.order import Order, mix
from recaption.load.policy import Drawn, Policy, from_manifest
from recaption.load.shards import Indexed, Sample, Shards, Tars
from recaption.load.steps import DropLast, Steps

try:
    from torch.utils.data import IterableDataset, get_worker_info
except ImportError as error:
    raise MissingExtra("torch", "train") from error

Batch = dict[str, Any]

STATE_VERSION: Final = 1
_TRIES: Final = 16  # samples that may stand in for an unreadable one before the data as a whole is said to be broken
_QUIET: Final = 60.0  # seconds between two warnings about skipped samples

_log = logging.getLogger("recaption.load")


class CaptionDataset(IterableDataset):  # type: ignore[type-arg,unused-ignore]
    """Images with texts drawn from their captions, in batches, for `DataLoader(dataset, batch_size=None)` or
    `recaption.load.loader`, which also counts what was delivered.

    `path`: an output folder, a build, or tars (a folder, a pattern, a list), on disk or behind an fsspec URL.
    `policy`: how texts are drawn (recaption.load.policy); default: what the manifest suggests.
    `transform`: of the decoded image; what it draws from `random`, `numpy.random` or torch is seeded for each sample.
    `tokenizer`: list of texts -> ids [n, L].
    `batch_size`: samples a step on this rank; `rank` and `world_size` are those of torch.distributed, else of the
        environment (RANK, WORLD_SIZE), else 0 of 1. Give them where ranks share samples (tensor parallelism).
    `split`: "train" is shuffled anew in each epoch. "val" comes as it lies, each sample once, with the same texts each
        time. Tars of others are not divided.
    `epochs`: how many one iteration has; None: it does not end. Iterating again goes on with the next epoch.
    `drop_last`: "global" leaves out what does not fill a global batch, "pad" fills it up (val always does).
    `block`: shuffle within blocks of so many shards (Parquet: row groups) in place of everywhere; None: as the format
        needs it. 0: everywhere.
    `decode`: "pil", or a function of the bytes. `output`: of images that are no tensor after `transform`.
    `on_error`: "raise", or "skip": another sample stands in for one that cannot be read, and it is counted.
    `tags`: records have their tags, for policies that look at them. `strings`: batches have keys and texts as well.
    `source`: for a sidecar, the folder where its source's files lie now.
    `cache`: a folder on a local disk for whole remote files, up to `cache_bytes`, and for the indexes of tars that
        recaption has not written. Where not all of a dataset fits, set `block`, or files are fetched again and again.

    A batch is a dict, B samples of K texts:
        images      [B, 3, H, W], or a list where sizes differ
        texts       int64 [B, K, L]; without a tokenizer B lists of K strings
        caption, idx, generation   int64 [B, K]: where a text is from; `generations` names the last (load/texts.py)
        weight      float32 [B, K]
        index       int64 [B]: the number of the sample, for `sample`
        mask        bool [B]: False for one that pads the batch or stands in for another: leave it out of evaluations
        step, epoch, skipped       int: global step, epoch, samples of this batch that could not be read
        keys, strings              with `strings`: list of B, list of B lists of K

    Raises UserError for what was given, DatasetError (with shard and key) for what is on disk.
    """

    def __init__(
        self,
        path: str | Path | Sequence[str],
        *,
        batch_size: int,
        policy: Policy | None = None,
        transform: Callable[[Any], Any] | None = None,
        tokenizer: texts.Tokenizer | None = None,
        seed: int = 0,
        split: str = "train",
        epochs: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        drop_last: DropLast = "global",
        block: int | None = None,
        decode: Literal["pil"] | Callable[[bytes], Any] = "pil",
        output: pixels.Output = "uint8",
        on_error: Literal["raise", "skip"] = "raise",
        tags: bool = False,
        strings: bool = False,
        source: str | Path | None = None,
        cache: str | Path | None = None,
        cache_bytes: int = 200 << 30,
    ) -> None:
        super().__init__()
        _among("split", split, ("train", "val"))
        _among("drop_last", drop_last, ("global", "pad"))
        _among("output", output, ("uint8", "float32"))
        _among("on_error", on_error, ("raise", "skip"))
        for name, value in (("batch_size", batch_size), ("epochs", 1 if epochs is None else epochs)):
            if value < 1:
                raise UserError(f"{name} is {value}; it has to be at least 1")
        self.rank, world_size = _place(rank, world_size)
        self.seed, self.split, self.epochs = seed, split, epochs
        self._transform, self._tokenizer, self._output = transform, tokenizer, output
        self._decode = pixels.decode_pil if decode == "pil" else decode
        self._on_error, self._strings = on_error, strings
        files = Files(Cache(cache, cache_bytes) if cache else None)
        layout = find(str(path) if isinstance(path, Path) else path, split, files)
        self._shards = _open(layout, files, split=split, tags=tags, source=str(source) if source else None)
        self._names = [file.shard for file in layout.files]
        self._ends = np.cumsum(self._shards.counts, dtype=np.int64)
        training = split == "train"
        self.steps = Steps(
            samples=int(self._ends[-1]) if len(self._ends) else 0,
            batch_size=batch_size,
            world_size=world_size,
            drop_last=drop_last if training else "pad",
        )
        self._block = self._shards.block if block is None else block or None
        self._order = Order(self._shards.units, seed, block=self._block, shuffle=training)
        self.fingerprint = layout.fingerprint(split, self._shards.counts)
        self.generations = ("raw", *(one["id"] for one in layout.manifest.get("generations", ())))
        self._policy = policy or _suggested(layout)
        self._chance = Chance(seed)
        self._step, self._stride, self._end = 0, 1, -1
        self._warned, self._unsaid = -_QUIET, 0

    # --- what is where -------------------------------------------------------------------------------------------

    def batch(self, step: int) -> Batch:
        """The batch of this rank at a global step, counted from 0 over all epochs; whatever was loaded before."""
        with kept_globals(self._transform is not None and get_worker_info() is None):
            return self._batch(step)

    def _batch(self, step: int) -> Batch:
        import torch

        epoch, positions, mask = self.steps.batch(step, self.rank)
        drawn: list[list[Drawn]] = []
        images, records, taken, skipped = [], [], [], 0
        for n, index in enumerate(self._order(epoch, positions).tolist()):
            for attempt in range(_TRIES + 1):
                try:
                    sample = self.sample(index)
                    chance = self._chance.of(self._told(epoch), index)
                    ones = self._policy(sample.record, chance, step)
                    image = self._image(sample, epoch, index)
                    break
                except DatasetError as error:
                    if self._on_error == "raise":
                        raise
                    if attempt == _TRIES:
                        raise DatasetError(f"none of {_TRIES + 1} samples could be read; the last: {error}") from error
                    self._say(error)
                    skipped += 1
                    mask[n] = False
                    index = mix(self.seed, epoch, index, attempt) % self.steps.samples
            drawn.append(ones)
            images.append(image)
            records.append(sample.record)
            taken.append(index)
        strings = [[one.text for one in ones] for ones in drawn]
        made: Batch = {
            "images": pixels.stack(images),
            "texts": texts.tokens(self._tokenizer, drawn) if self._tokenizer else strings,
            **texts.provenance(records, drawn, self.generations),
            "index": torch.tensor(taken),
            "mask": torch.from_numpy(mask),
            "step": step,
            "epoch": epoch,
            "skipped": skipped,
        }
        if self._strings:
            made |= {"keys": [record.key for record in records], "strings": strings}
        return made

    def sample(self, index: int) -> Sample:
        """A sample by its number: the record, and the bytes of the image. Raises DatasetError."""
        if not 0 <= index < self.steps.samples:
            raise IndexError(f"sample {index} of {self.steps.samples}")
        file = int(np.searchsorted(self._ends, index, side="right"))
        row = index - int(self._ends[file - 1] if file else 0)
        try:
            sample = self._shards.read(file, row)
        except OSError as error:
            raise DatasetError(f"cannot read sample {row}: {error}", shard=self._names[file]) from error
        if not sample.record.captions:
            raise DatasetError("the record has no captions", key=sample.record.key, shard=self._names[file])
        return sample

    def _image(self, sample: Sample, epoch: int, index: int) -> Any:
        try:
            image = self._decode(sample.image)
        except Exception as error:  # Pillow has many, and a decoder of the user's has others
            what = f"the image does not decode: {type(error).__name__}: {error}"
            raise DatasetError(what, key=sample.record.key, shard=sample.record.shard) from error
        if self._transform is not None:
            seed_globals(self.seed, self._told(epoch), index)
            image = self._transform(image)
        return pixels.to_tensor(image, self._output)

    def _told(self, epoch: int) -> int:
        """The epoch that chance is told: evaluations are all alike."""
        return epoch if self.split == "train" else 0

    def _say(self, error: DatasetError) -> None:
        self._unsaid += 1
        if time.monotonic() - self._warned >= _QUIET:
            _log.warning("skipped %d samples that cannot be read; the last: %s", self._unsaid, error)
            self._warned, self._unsaid = time.monotonic(), 0

    # --- iterating -----------------------------------------------------------------------------------------------

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

    # --- resuming ------------------------------------------------------------------------------------------------

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
            raise UserError(f"this is not the state of a CaptionDataset: {error!r}") from error
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
            "block": self._block or 0,
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


def _among(name: str, given: str, allowed: Sequence[str]) -> None:
    if given not in allowed:
        raise UserError(f"{name} is {given!r}; it can be {' or '.join(allowed)}")
