"""The settings of a CaptionDataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from recaption.errors import UserError
from recaption.load import pixels, texts
from recaption.load.cache import MOST_BYTES
from recaption.load.layout import Verify
from recaption.load.policy import Policy
from recaption.load.resumable import DropLast


@dataclass(frozen=True, kw_only=True, slots=True)
class LoaderConfig:
    """Settings of a `CaptionDataset`; all but `batch_size` have defaults.

    Args:
        batch_size: samples per step on this rank.
        policy: how texts are drawn (recaption.load.policy). Default: the policy that the manifest suggests.
        transform: applied to the decoded image. `random`, `numpy.random` and torch are seeded for each sample before
            the call.
        tokenizer: a name (`clip` and `open_clip` are those of open_clip; a tokenizers JSON file; a hub id), a tokenizer
            of transformers, the tokenizers library or open_clip, or any function from a list of n texts to ids [n, L].
            Default: texts stay strings.
        length: tokens of a text, start, end and padding included: one number, or one per role,
            {"long": 248, "short": 77}. A text is short if it is drawn from raw and short captions only. Default: 77.
        overflow: what happens to longer texts: "drop_tail_sentences", "truncate" (keeps the end token) or "error".
        token_ids: use the ids stored with the build where they make exactly the drawn text. True: if the tokenizer is
            given by name and the build has ids of that name. A name: the ids of that name, for a tokenizer that is not
            given by name. False: never.
        text_mask: add `text_mask` to batches.
        seed: of the order, the policy and the transform.
        split: "train" is shuffled again in each epoch. "val" has a fixed order and the same texts in each iteration.
            Tars that recaption did not write have no splits.
        epochs: epochs of one iteration. None: an iteration does not end. The next iteration continues with the next
            epoch.
        rank: default: from torch.distributed, else from the environment (RANK), else 0. Set `rank` and `world_size`
            explicitly where ranks share samples (tensor parallelism).
        world_size: as `rank` (WORLD_SIZE, else 1).
        drop_last: "global" drops the samples that do not fill a global batch; "pad" fills the last batch, as split
            "val" always does.
        block: shuffle within blocks of this many shards (Parquet: row groups; with `lanes`: pieces). 0: shuffle
            everything. None: the default of the format, and 4 with `lanes`.
        lanes: read tars in pieces of up to 32 MiB (Parquet: in row groups), and keep in memory the pieces that are
            shuffled together. Ranks and workers read different pieces; this is the number of groups of ranks, and
            divides batch_size x world_size. 0: ranks and workers read all shards, and tars one sample at a time. None:
            world_size on an object store without `cache`, as requests there are slow and limited in number; else 0.
            To resume with another world_size, give that of the first run.
        balance: a file of `recaption balance`, for split "train": each epoch is a new random subset, in which frequent
            objects are rarer. It has the expected size of the subset. Sizes and steps are then those of such an epoch.
        decode: "pil" gives `transform` a PIL image, "torchvision" a uint8 tensor [3, H, W], "simplejpeg" a uint8 array
            [H, W, 3]; or a function of the bytes. Images are upright: for a sidecar, whose bytes are those of the
            source, the decoded image is turned by the record's orientation, and EXIF is removed from a JPEG first.
        output: dtype of images that are not tensors after `transform`: "uint8", or "float32" in [0, 1].
        on_error: "raise", or "skip": another sample replaces one that cannot be read, and `skipped` counts it.
        tags: load the tags of sub-captions, for policies that use them.
        strings: add `keys` and `strings` to batches.
        source: for a sidecar, the folder that now holds the source's files.
        cache: a folder on a local disk for whole remote files and for indexes of tars that recaption did not write.
            Set `block` if the dataset does not fit, or files are downloaded repeatedly.
        cache_bytes: size limit of the remote files in `cache`, in bytes.
        verify: what is checked when a process opens a file. "size": its size against the manifest; for tars that
            recaption did not write, against the size at the time the dataset was opened. "sha256": the content as well,
            once per process. Tars without a manifest are then read completely when the dataset is opened, and resume is
            refused if their content has changed. A change in place at the same size while the file is open is not
            detected. Images of a sidecar are always checked against their sha256.

    Raises UserError for a value that is not allowed.
    """

    batch_size: int
    policy: Policy | None = None
    transform: Callable[[Any], Any] | None = None
    tokenizer: Any = None
    length: texts.Length | None = None
    overflow: texts.Overflow = "drop_tail_sentences"
    token_ids: bool | str = True
    text_mask: bool = False
    seed: int = 0
    split: str = "train"
    epochs: int | None = None
    rank: int | None = None
    world_size: int | None = None
    drop_last: DropLast = "global"
    block: int | None = None
    lanes: int | None = None
    balance: str | Path | None = None
    decode: pixels.Decode = "pil"
    output: pixels.Output = "uint8"
    on_error: Literal["raise", "skip"] = "raise"
    tags: bool = False
    strings: bool = False
    source: str | Path | None = None
    cache: str | Path | None = None
    cache_bytes: int = MOST_BYTES
    verify: Verify = "size"

    def __post_init__(self) -> None:
        choices = {"split": ("train", "val"), "drop_last": get_args(DropLast), "output": get_args(pixels.Output)}
        choices |= {"on_error": ("raise", "skip"), "verify": get_args(Verify)}
        for name, allowed in choices.items():
            if (given := getattr(self, name)) not in allowed:
                raise UserError(f"{name} is {given!r}; it can be {' or '.join(allowed)}")
        if self.lanes is not None and self.lanes < 0:
            raise UserError(f"lanes is {self.lanes}; it has to be 0, or a divisor of batch_size x world_size")
        if self.lanes and self.block == 0:
            raise UserError(f"lanes is {self.lanes}, and block is 0, which shuffles everything. Leave one of them out")
        if self.balance is not None and self.split != "train":
            raise UserError(f"balance is for split train, and split is {self.split}. Leave out balance")
        if self.batch_size < 1:
            raise UserError(f"batch_size is {self.batch_size}; it has to be at least 1")
