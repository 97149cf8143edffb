"""A folder of image files, with an optional table of captions beside them."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from recaption.config import Source as SourceConfig
from recaption.errors import ImageError, ShardError, SourceError
from recaption.source.base import PART_SIZE, SUFFIXES, Row, check_caption, checked, images, unreadable
from recaption.source.files import is_folder, read_all, walk
from recaption.source.paths import part_id, shard_id
from recaption.source.table import METADATA, Table, find_table, read_table
from recaption.types import Image, Locator, SourceShard


def is_image(name: str) -> bool:
    return posixpath.splitext(name)[1][1:].lower() in SUFFIXES


class FolderSource:
    """Image files below a folder, sorted by path component, cut into virtual shards of 5,000. Locators are paths.

    Files whose name begins with a dot are left out, links to folders are not followed. A file that the table names is
    an image whatever its suffix is. Shards are positions in the sorted list: adding a file moves those behind it,
    which the digest of their index shows.
    """

    kind = "folder"

    def __init__(self, config: SourceConfig) -> None:
        self.config = config
        self.folder = config.path.rstrip("/") or "/"

    def __reduce__(self) -> tuple[Any, ...]:
        return FolderSource, (self.config,)  # without the listing, which may be large

    @cached_property
    def _table(self) -> Table:
        path = find_table(self.folder, self.config.captions)
        return read_table(path) if path else {}

    @cached_property
    def _names(self) -> list[str]:
        if not is_folder(self.folder):
            raise SourceError(f"source.path: there is no folder {self.folder!r}")
        names = {name for name in walk(self.folder) if is_image(name)} | set(self._table)
        if not names:
            raise SourceError(
                f"source.path: no image below {self.folder!r}; suffixes taken are {', '.join(SUFFIXES)}. "
                f"A table such as {METADATA[0]} may name files with others"
            )
        return sorted(names, key=lambda name: name.split("/"))

    def shards(self) -> Iterator[SourceShard]:
        base = shard_id(self.folder.rpartition("/")[2])
        for number, first in enumerate(range(0, len(self._names), PART_SIZE)):
            count = min(PART_SIZE, len(self._names) - first)
            name = part_id(base, number)
            yield SourceShard(id=name, number=number, path=self.folder, first=first, count=count)

    def columns(self) -> frozenset[str]:
        names = frozenset(name for row in self._table.values() for name in row)
        check_caption(self.config, names, self.config.captions or self.folder)
        return names

    def signature(self, shard: SourceShard) -> str | None:
        return None  # a folder has no time of change that its files move

    def index(self, shard: SourceShard) -> list[Image]:
        end = None if shard.count is None else shard.first + shard.count
        rows = [self._row(name) for name in self._names[shard.first : end]]
        return images(shard, rows, self.config)

    def _row(self, name: str) -> Row:
        path = f"{self.folder}/{name}"
        row = Row(
            source_key=posixpath.splitext(name)[0],
            locator=Locator(path=path, size=0),
            columns=dict(self._table.get(name, {})),
        )
        if name.startswith(("../", "/")) or name == "..":
            row.reason, row.detail = "missing_image", f"{name} leads out of the folder"
            return row
        try:
            data = read_all(path)
        except ShardError as error:
            row.reason, row.detail = "unreadable", str(error)
            if name in self._table and isinstance(error.__cause__, FileNotFoundError):
                row.reason, row.detail = "missing_image", f"the table names {name}, which is not in the folder"
            return row
        if not data:
            row.reason, row.detail = "empty", f"{name} has no bytes"
            return row
        row.sha256, row.locator = hashlib.sha256(data).hexdigest(), Locator(path=path, size=len(data))
        row.look(data)
        return row

    def read(self, images: Sequence[Image]) -> Iterator[tuple[Image, bytes | ImageError]]:
        for image in images:
            try:
                yield image, checked(image, read_all(image.locator.path))
            except ShardError as error:
                yield image, unreadable(image, error)
