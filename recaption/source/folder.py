"""A folder of image files, with an optional table of captions beside them."""

from __future__ import annotations

import hashlib
import math
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from recaption.config import Source as SourceConfig
from recaption.errors import ImageError, ShardError, SourceError
from recaption.source.base import PART_SIZE, SUFFIXES, Row, check_caption, checked, images, unreadable
from recaption.source.files import is_folder, read_all, walk
from recaption.source.paths import part_id, shard_id
from recaption.source.recorded import POSITIONS, FolderRule, KeyRule
from recaption.source.table import METADATA, Table, find_table, read_table
from recaption.types import Image, Locator, SourceShard

_FILL = 0.9  # of `PART_SIZE`: hashing fills some shards more than others
_GROWTH = 4  # times `PART_SIZE`: a folder that fills its shards so much gets more of them
_SLUG = 100  # characters


def is_image(name: str) -> bool:
    return posixpath.splitext(name)[1][1:].lower() in SUFFIXES


class FolderSource:
    """Image files below a folder, in virtual shards of about 5,000. Locators are paths.

    Key and shard of an image follow from its path relative to the folder alone (`recaption.source.recorded`), so files
    that come or go change neither of another's. In an output from before that rule, shards are cut out of the list of
    files, sorted by path component. Files whose name begins with a dot are left out. A file that the table names is an
    image whatever its suffix is.
    """

    kind = "folder"

    def __init__(self, config: SourceConfig, rule: FolderRule | None = None) -> None:
        """Without a `rule`, the folder is listed to find how many shards it needs."""
        self.config, self._given = config, rule
        self.folder = config.path.rstrip("/") or "/"

    @classmethod
    def of_output(cls, config: SourceConfig, recorded: FolderRule | None) -> FolderSource:
        """The source of an output with this rule. A folder that has outgrown its shards gets more; keys stay."""
        made = cls(config, recorded)
        if recorded in (None, POSITIONS) or len(made._hashes) <= _GROWTH * PART_SIZE * made.rule.shards:
            return made
        return cls(config)

    def __reduce__(self) -> tuple[Any, ...]:
        return FolderSource, (self.config, self.rule)  # without the listing, which may be large

    @cached_property
    def rule(self) -> FolderRule:
        """How keys and shards are made."""
        if self._given is not None:
            return self._given
        files = len(self._hashes)
        return FolderRule(keys="path", shards=1 if files <= PART_SIZE else math.ceil(files / (_FILL * PART_SIZE)))

    @property
    def key_rule(self) -> KeyRule:
        return "positional" if self.config.keys == "positional" else self.rule.keys

    def files(self) -> frozenset[str]:
        return frozenset()  # shards are cuts of a folder that changes

    @cached_property
    def _table(self) -> Table:
        path = find_table(self.folder, self.config.captions)
        return read_table(path) if path else {}

    def _names(self) -> Iterator[str]:
        """Paths of the images relative to the folder, in no order. Raises SourceError where there is no folder."""
        if not is_folder(self.folder):
            raise SourceError(f"source.path: there is no folder {self.folder!r}")
        left = set(self._table)
        for name in walk(self.folder):
            if name in left or is_image(name):
                left.discard(name)
                yield name
        yield from left

    @cached_property
    def _hashes(self) -> npt.NDArray[np.uint64]:
        """Of all images: eight bytes each, since names of ten million files take a gigabyte."""
        found = np.fromiter(map(_hash, self._names()), np.uint64)
        if not len(found):
            raise SourceError(
                f"source.path: no image below {self.folder!r}; suffixes taken are {', '.join(SUFFIXES)}. "
                f"A table such as {METADATA[0]} may name files with others"
            )
        return found

    @cached_property
    def _sorted(self) -> list[str]:
        return sorted(self._names(), key=_by_component)

    def shards(self) -> Iterator[SourceShard]:
        base, rule = shard_id(self.folder.rpartition("/")[2]), self.rule
        if rule == POSITIONS:
            for number, first in enumerate(range(0, len(self._sorted), PART_SIZE)):
                count = min(PART_SIZE, len(self._sorted) - first)
                name = part_id(base, number)
                yield SourceShard(id=name, number=number, path=self.folder, first=first, count=count)
            return
        counts: Counter[int] = Counter(_bucket(value, rule.shards) for value in self._hashes.tolist())
        for number, count in sorted(counts.items()):
            yield SourceShard(id=part_id(base, number), number=number, path=self.folder, count=count)

    def columns(self) -> frozenset[str]:
        names = frozenset(name for row in self._table.values() for name in row)
        check_caption(self.config, names, self.config.captions or self.folder)
        return names

    def signature(self, shard: SourceShard) -> str | None:
        return None  # a folder has no time of change that its files move

    def index(self, shard: SourceShard) -> list[Image]:
        rule = self.rule
        if rule == POSITIONS:
            end = None if shard.count is None else shard.first + shard.count
            return images(shard, [self._row(name) for name in self._sorted[shard.first : end]], self.config)
        mine = (name for name in self._names() if _bucket(_hash(name), rule.shards) == shard.number)
        names = sorted(mine, key=_by_component)
        keys = None if self.config.keys == "positional" else [path_key(name) for name in names]
        return images(shard, [self._row(name) for name in names], self.config, keys)

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
        return row

    def read(self, images: Sequence[Image]) -> Iterator[tuple[Image, bytes | ImageError]]:
        for image in images:
            try:
                yield image, checked(image, read_all(image.locator.path))
            except ShardError as error:
                yield image, unreadable(image, error)


def path_key(name: str) -> str:
    """The key of an image at this path relative to the folder: readable, and different for different paths.

    `2024/07/IMG 0004.jpg` is `2024-07-IMG-0004-` and 16 hex digits of the path's sha256.
    """
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", posixpath.splitext(name)[0]).strip("_-")
    return f"{stem[-_SLUG:].lstrip('_-') or 'image'}-{_digest(name)}"


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _hash(name: str) -> int:
    return int(_digest(name), 16)


def _bucket(value: int, shards: int) -> int:
    """The shard of a hash: equal parts of its range."""
    return value * shards >> 64


def _by_component(name: str) -> list[str]:
    return name.split("/")
