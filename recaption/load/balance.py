"""Epochs of a balanced subset: which samples an epoch keeps, and where they are in its order."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from recaption.balance import read_about
from recaption.errors import DatasetError, UserError
from recaption.load.files import Files
from recaption.load.layout import Layout
from recaption.load.lru_cache import LruCache
from recaption.load.order import Integers, Order, uniform

_CHUNK: Final = 1 << 14  # positions whose samples are drawn together


class Balance:
    """The samples that each epoch keeps, in the epoch's order.

    A sample is kept with its probability `p`, by a hash of its key, the seed and the epoch. `samples` is the length of
    an epoch, the expected number of kept samples. If an epoch keeps more, the last ones in its order are left out; if
    it keeps fewer, its order begins again. Memory is that of the two arrays, and 8 bytes per 16,384 samples for each of
    two epochs.
    """

    def __init__(self, p: npt.NDArray[np.float32], draw: npt.NDArray[np.uint64], order: Order, seed: int) -> None:
        self._p, self._draw, self._order, self._seed = p, draw, order, seed
        self.samples = max(1, round(float(p.sum(dtype=np.float64))))
        self._ends, self._chunks = LruCache(2), LruCache(64)  # lanes read from several places in turn

    def __call__(self, epoch: int, slots: npt.ArrayLike) -> Integers:
        """The sample at each slot of an epoch; slots are in [0, samples)."""
        given = np.asarray(slots, np.int64)
        ends = self._ends.get(epoch, lambda: self._count(epoch))
        if not ends[-1]:  # of a few samples, an epoch may keep none
            return self._order(epoch, given)
        given = given % ends[-1]
        chunks = np.searchsorted(ends, given, side="right")
        found = np.empty_like(given)
        for chunk in np.unique(chunks).tolist():
            kept = self._chunks.get((epoch, chunk), partial(self._kept, epoch, chunk))
            here = chunks == chunk
            found[here] = kept[given[here] - (ends[chunk - 1] if chunk else 0)]
        return found

    def _count(self, epoch: int) -> npt.NDArray[np.int64]:
        """The number of kept samples up to the end of each chunk."""
        chunks = range(-(-len(self._p) // _CHUNK))
        return np.cumsum([len(self._kept(epoch, chunk)) for chunk in chunks], dtype=np.int64)

    def _kept(self, epoch: int, chunk: int) -> Integers:
        """The kept samples of a chunk of the epoch's order."""
        samples = self._order(epoch, np.arange(chunk * _CHUNK, min((chunk + 1) * _CHUNK, len(self._p))))
        return samples[uniform(self._draw[samples], self._seed, epoch) < self._p[samples]]


def opened(
    path: str, layout: Layout, counts: Sequence[int], files: Files
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint64]]:
    """`p` and `draw` of the samples of a layout, in their order. `counts`: the samples of each file.

    Raises UserError for a missing file and one of another build, DatasetError for a broken one.
    """
    if not layout.manifest:
        raise UserError("balance needs a build of recaption, whose captions have tags")
    try:
        with files.open(path) as stream:
            parquet = pq.ParquetFile(stream, pre_buffer=False, read_dictionary=["shard"])
            about = read_about(parquet, path)
            table = parquet.read(["shard", "p", "draw"], use_threads=False).unify_dictionaries().combine_chunks()
    except FileNotFoundError as error:
        raise UserError(f"balance: there is no file {path}. Make it with: recaption balance OUT") from error
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"balance: {path} cannot be read: {error}") from error
    if about.build != layout.manifest["build"]:
        raise UserError(
            f"balance: {path} is of build {about.build}, and build {layout.manifest['build']} is loaded. Make it again "
            "with: recaption balance OUT"
        )
    shards = table["shard"].combine_chunks()
    names, codes = shards.dictionary.to_pylist(), shards.indices.to_numpy(zero_copy_only=False)
    edges = np.flatnonzero(np.diff(codes, prepend=-1)) if len(codes) else np.empty(0, np.int64)
    spans = {names[codes[start]]: (start, end) for start, end in zip(edges, [*edges[1:], len(codes)], strict=True)}
    places = [spans.get(file.shard, (0, 0)) for file in layout.files]
    if [end - start for start, end in places] != list(counts):
        raise DatasetError(f"balance: {path} has other samples than the build")
    p, draw = table["p"].to_numpy(), table["draw"].to_numpy()
    rows = np.concatenate([np.arange(*place) for place in places])
    return p[rows], draw[rows]
