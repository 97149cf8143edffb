"""What only shows over all shards, in memory that grows with neither shards nor images."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from recaption.problems import Problem
from recaption.validate.kinds import problem
from recaption.validate.shard import Shard

_BUCKETS = 256
_ROW = np.dtype([("hash", "<u8"), ("shard", "<u4"), ("row", "<u4")])


class Keys:
    """Finds keys that are there twice: 16 bytes a key go to files on disk, 256th by 256th, and come back one at a time.

    Hashes that are equal are reported as equal keys: of a billion keys, two differ in spite of it with a chance of 3 %.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="recaption-keys-")
        self._names: list[str] = []

    def __enter__(self) -> Keys:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def add(self, shard: Shard) -> None:
        """Take in the keys of a shard."""
        keys = shard.column("images", "key")
        rows = np.empty(len(keys), _ROW)
        rows["hash"] = [int.from_bytes(hashlib.blake2b(k.encode(), digest_size=8).digest(), "little") for k in keys]
        rows["shard"], rows["row"] = len(self._names), np.arange(len(keys))
        self._names.append(shard.name)
        rows = rows[np.argsort(rows["hash"] % _BUCKETS, kind="stable")]
        for bucket, part in enumerate(np.split(rows, np.searchsorted(rows["hash"] % _BUCKETS, np.arange(1, _BUCKETS)))):
            if len(part):
                with open(self._file(bucket), "ab") as file:
                    file.write(part.tobytes())

    def problems(self) -> Iterator[Problem]:
        """Keys that are there more than once, by where they are."""
        for bucket in range(_BUCKETS):
            if not self._file(bucket).exists():
                continue
            rows = np.fromfile(self._file(bucket), _ROW)
            rows = rows[np.argsort(rows["hash"], kind="stable")]
            for at in np.flatnonzero(rows["hash"][1:] == rows["hash"][:-1]):
                first, again = (f"images/{self._names[r['shard']]}.parquet, row {r['row']}" for r in rows[at : at + 2])
                yield problem("duplicate key", again, f"has the key of {first}")

    def _file(self, bucket: int) -> Path:
        return Path(self._folder.name) / str(bucket)


class Splits:
    """Whether val is a share of all images: the first 64 bits of every val image's sha256 are below every train one's.

    See `recaption.write.split_of`. Where the manifest has the share (`holdout`), they are compared with it.
    """

    def __init__(self, holdout: float | None) -> None:
        self._holdout = holdout
        self._val: tuple[int, str] = (-1, "")  # the highest of val, and where it is
        self._train: tuple[int, str] = (1 << 64, "")  # the lowest of train

    def add(self, shard: Shard) -> None:
        """Take in the images of a shard."""
        for key, sha256, split in shard.columns("images", "key", "sha256", "split"):
            try:
                place = int(sha256[:16], 16), f"{shard.path('images')}, {key}"
            except ValueError:
                continue  # none, or no sha256, which is said of its column
            if split == "val":
                self._val = max(self._val, place)
            else:
                self._train = min(self._train, place)

    def problems(self) -> Iterator[Problem]:
        if self._holdout is not None:
            limit, share = self._holdout * 2.0**64, f"the manifest's holdout of {self._holdout:g}"
            if self._val[0] >= limit:
                yield problem("split", self._val[1], f"is val, though its sha256 is not within {share}")
            if self._train[0] < limit:
                yield problem("split", self._train[1], f"is train, though its sha256 is within {share}")
        elif self._val[0] >= self._train[0]:
            yield problem("split", self._val[1], f"is val, though {self._train[1]}, which is train, has a lower sha256")
