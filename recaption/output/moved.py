"""Finds the answers of images that are now in another source shard, by the hash of the image.

Answers are stored by source shard, and a run looks for the answers of a shard in its own files only. After a file was
renamed, a folder was split into more shards or tars were repacked, answers are in other shards than their images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from recaption.io.store import Store
from recaption.output import paths
from recaption.output.answers import table_bytes
from recaption.output.stored_table import read_stored
from recaption.types import Image

_TRIES = 3  # parts may be compacted after they were listed, before they are read


@dataclass(frozen=True, kw_only=True, slots=True)
class _Places:
    """The images of one generation: the first 8 bytes of each sha256, sorted, and the number of its shard."""

    hashes: npt.NDArray[np.uint64]
    numbers: npt.NDArray[np.int32]
    shards: tuple[str, ...]

    def shards_with(self, wanted: npt.NDArray[np.uint64]) -> list[str]:
        first, last = (np.searchsorted(self.hashes, wanted, side) for side in ("left", "right"))
        found = {int(n) for a, b in zip(first, last, strict=True) for n in self.numbers[a:b]}
        return [self.shards[number] for number in sorted(found)]


class MovedAnswers:
    """Copies answers and rejects to the shard that now has the image. Takes twelve bytes of memory per stored answer.

    `unlisted`: whether a shard that is listed for the first time may have images of other shards.
    """

    def __init__(self, store: Store, *, unlisted: bool) -> None:
        self._store, self.unlisted = store, unlisted

    def bring(self, shard: str, images: Sequence[Image]) -> int:
        """Copy the answers and rejects of these images in other shards, of all generations, into parts of `shard`.

        Returns the number of rows. Safe to repeat. An answer keeps its key if one of the images has it; otherwise it
        gets the key of an image with the same bytes.
        """
        by_sha256: dict[str, list[Image]] = {}
        for image in images:
            by_sha256.setdefault(image.sha256, []).append(image)
        if not by_sha256:
            return 0
        wanted = np.fromiter(map(_short, by_sha256), np.uint64)
        rows = 0
        for (kind, folder), places in self._places.items():
            number = 0
            for other in places.shards_with(wanted):
                for table in self._tables(kind, folder, other) if other != shard else ():
                    moved = _moved(table, shard, by_sha256)
                    if moved.num_rows:
                        data = table_bytes(moved)
                        # Epoch 0 belongs to no run in progress. The digest: an earlier copy may have put another part.
                        name = f"000000.000000-{number:04d}-moved_{hashlib.sha256(data).hexdigest()[:8]}"
                        self._store.put(paths.part_file(kind, folder, shard, name), data)
                        rows, number = rows + moved.num_rows, number + 1
        return rows

    @cached_property
    def _places(self) -> dict[tuple[str, str], _Places]:
        return {
            (kind, folder): self._read_places(kind, folder)
            for kind in paths.STORED
            for folder in self._store.folders(kind)
            if folder != paths.SOURCE  # these are written again with each index
        }

    def _read_places(self, kind: str, folder: str) -> _Places:
        compacted = {paths.compacted_shard(path) for path in self._store.list(f"{kind}/{folder}")}
        shards = tuple(sorted(compacted | set(self._store.folders(paths.parts_folder(kind, folder)))))
        hashes, numbers = [np.empty(0, np.uint64)], [np.empty(0, np.int32)]
        for number, shard in enumerate(shards):
            for table in self._tables(kind, folder, shard, ["sha256"]):
                found = np.fromiter(map(_short, table["sha256"].to_pylist()), np.uint64)
                hashes.append(found)
                numbers.append(np.full(len(found), number, np.int32))
        joined, of = np.concatenate(hashes), np.concatenate(numbers)
        order = np.argsort(joined, kind="stable")
        return _Places(hashes=joined[order], numbers=of[order], shards=shards)

    def _tables(self, kind: str, folder: str, shard: str, columns: list[str] | None = None) -> Iterator[pa.Table]:
        for left in reversed(range(_TRIES)):
            try:
                tables = [self._read(path, columns) for path in self._files(kind, folder, shard)]
            except FileNotFoundError:
                if not left:
                    raise
            else:
                yield from tables
                return

    def _files(self, kind: str, folder: str, shard: str) -> list[str]:
        # Parts first: answers that are compacted in between are then found twice rather than missed.
        found = list(self._store.list(paths.parts_folder(kind, folder, shard)))
        number = 0
        while self._store.exists(path := paths.compacted_file(kind, folder, shard, number)):
            found.append(path)
            number += 1
        return found

    def _read(self, path: str, columns: list[str] | None) -> pa.Table:
        return read_stored(self._store, path, columns)


def _moved(table: pa.Table, shard: str, by_sha256: dict[str, list[Image]]) -> pa.Table:
    """The rows of these images, as rows of `shard`."""
    table = table.filter(pc.is_in(table["sha256"], pa.array(by_sha256, pa.string())))
    taken: set[tuple[str | None, str]] = set()
    rows, owners = [], []
    columns = (table[name].to_pylist() for name in ("sha256", "prompt_sha256", "key"))
    for row, (sha256, prompt, key) in enumerate(zip(*columns, strict=True)):
        free = [image for image in by_sha256[sha256] if (prompt, image.key) not in taken]
        if free:
            owner = next((image for image in free if image.key == key), free[0])
            taken.add((prompt, owner.key))
            rows.append(row)
            owners.append(owner)
    table = table.take(pa.array(rows, pa.int64()))
    values = {"key": [o.key for o in owners], "row": [o.row for o in owners]}
    if "source_key" in table.column_names:
        values |= {"source_key": [o.source_key for o in owners], "shard": [shard] * len(owners)}
    for name, new in values.items():
        field = table.schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, pa.array(new, field.type))
    return table


def _short(sha256: str) -> int:
    return int(sha256[:16] or "0", 16)
