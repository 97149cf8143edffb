"""Pieces of data files: many samples that are read with one request, for datasets on object stores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from recaption.load.lru_cache import LruCache

PIECE_BYTES: Final = 32 << 20
"""Approximate maximum size of a piece, in bytes."""
Piece = tuple[npt.NDArray[np.uint64], bytes]
"""Start and end of its samples in the file, [n, 2], in order, and all bytes from the first start to the last end."""
PIECES: Final = 4
"""Pieces that are shuffled together."""


class Pieces:
    """Consecutive samples of a file, of up to `PIECE_BYTES` bytes, that are read with one request and kept in memory.

    An object store takes tens of milliseconds for each request, and limits the requests per second.
    """

    def __init__(self, counts: Sequence[int], sizes: Sequence[int], most: int) -> None:
        """`counts`, `sizes`: samples and bytes of each file. `most`: samples of a piece."""
        self.units: list[int] = []
        """Samples of each piece of all files."""
        self.files: list[int] = []
        """The number of the file of each piece."""
        self._counts, self._samples = counts, []
        for file, (count, size) in enumerate(zip(counts, sizes, strict=True)):
            pieces = max(1, -(-size // PIECE_BYTES))
            self._samples.append(min(most, max(1, -(-count // pieces))))
            made = [min(self._samples[-1], count - first) for first in range(0, count, self._samples[-1])]
            self.units += made
            self.files += [file] * len(made)
        self._kept = LruCache(PIECES)

    def keep(self, pieces: int) -> None:
        """Keep this many pieces in memory from now on."""
        self._kept.most = pieces

    def get(self, file: int, row: int, read: Callable[[int, int], Piece]) -> tuple[int, int, bytes]:
        """Start and end of a sample in its file, and its bytes, fewer if the file ends before.

        `read(first, stop)` reads the samples of these rows.
        """
        first = row - row % self._samples[file]
        stop = min(first + self._samples[file], self._counts[file])
        spans, data = self._kept.get((file, first), lambda: read(first, stop))
        start, end = spans[row - first].tolist()
        at = start - int(spans[0, 0])
        return start, end, data[at : at + end - start]
