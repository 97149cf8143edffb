"""Embeddings of a generation for a shard, `embeddings/<generation>/<shard>.npy`: the layout of the file, and a reader.

The file is an array of NumPy with a row per embedding: `id` (bytes) is the key of an image, a caption_id or a sub_id,
`embedding` is float16 [D]. Rows of images come first. All rows have the order of the images.
"""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recaption.errors import DatasetError

Vector = npt.NDArray[np.float16]


class Embeddings(Mapping[str, Vector]):
    """The embeddings of a file by id, in its order: keys of images, caption_ids and sub_ids.

    `vectors` has all of them, float16 [N, D], read-only; row i is the embedding of the i-th id.
    """

    def __init__(self, rows: npt.NDArray[Any], where: str) -> None:
        """Raises DatasetError for an array of another layout."""
        fields = dict(rows.dtype.fields or {})
        shape = fields["embedding"][0].shape if fields.keys() == {"id", "embedding"} else ()
        if rows.ndim != 1 or len(shape) != 1 or fields["embedding"][0].base != "<f2" or fields["id"][0].kind != "S":
            raise DatasetError(f"{where} has no embeddings: its rows are {rows.dtype}. Build it again")
        self._all, self._where = rows, where
        self.vectors: Vector = rows["embedding"]

    @classmethod
    def open(cls, path: str | Path) -> Embeddings:
        """Map a file on a local disk. Raises DatasetError if it is broken, OSError if it is missing."""
        try:
            return cls(np.load(path, mmap_mode="r", allow_pickle=False), str(path))
        except (ValueError, EOFError) as error:
            raise DatasetError(f"{path} is not a complete file of embeddings: {error}. Build it again") from error

    @classmethod
    def read(cls, data: bytes, where: str) -> Embeddings:
        """The embeddings in the bytes of a file. Raises DatasetError if it is broken."""
        try:
            rows = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise DatasetError(f"{where} is not a complete file of embeddings: {error}. Build it again") from error
        return cls(rows, where)

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {id.decode("ascii", "replace"): row for row, id in enumerate(self._all["id"].tolist())}

    def images(self) -> Embeddings:
        """The embeddings of images. If the file is mapped, only their rows are read."""
        ids = self._all["id"]
        return Embeddings(
            self._all[: bisect_left(range(len(ids)), True, key=lambda row: b"/" in ids[row])], self._where
        )

    def __getitem__(self, id: str) -> Vector:
        """float16 [D]. Raises KeyError."""
        vector: Vector = self.vectors[self._rows[id]]
        return vector

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)
