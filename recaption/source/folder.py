"""A folder of image files, with optional tables of captions in it."""

from __future__ import annotations

import hashlib
import math
import posixpath
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from recaption.config import Source as SourceConfig
from recaption.errors import ImageError, ShardError, SourceError
from recaption.imagefile import SOURCE_SUFFIXES
from recaption.io.files import REQUESTS, LeftOut, is_folder, is_url, read_all, walk
from recaption.source.base import PART_SIZE, Row, check_caption, checked, images, unreadable
from recaption.source.columns import MAX_JSON, Texts, counted, is_text, shortened, storable, unused_captions
from recaption.source.keys import POSITIONS, FolderRule, KeyRule, path_digest, path_key
from recaption.source.paths import part_id, shard_id
from recaption.source.table import METADATA, Table, find_table, first_of_each, read_table, read_tables
from recaption.threads import A, B, each
from recaption.types import Image, Locator, SourceShard

_FILL = 0.9  # of `PART_SIZE`: hashing fills some shards more than others
_GROWTH = 4  # times `PART_SIZE`: above this mean size, the number of shards grows
_SAMPLE = 1_000  # names of text and JSON files that a scan keeps, at most
_HEAD = 64  # how many of those files are read for the names of columns


def is_image(name: str) -> bool:
    return posixpath.splitext(name)[1][1:].lower() in SOURCE_SUFFIXES


@dataclass(kw_only=True, slots=True)
class _Scan:
    """What one walk through the folder found. Paths are relative to the folder."""

    hashes: array[int] = field(default_factory=lambda: array("Q"))  # of all images: ten million names take a gigabyte
    names: list[str] = field(default_factory=list)  # of the images for which `wanted` is true
    tables: list[str] = field(default_factory=list)
    read: list[str] = field(default_factory=list)  # those of `tables` that are read
    unread: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)  # suffix -> number of files that are neither
    suffixes: set[str] = field(default_factory=set)  # as written, of text and JSON files
    stems: array[int] = field(default_factory=lambda: array("Q"))  # hashes of paths without suffix, one per image
    texts: dict[str, array[int]] = field(default_factory=dict)  # the same for text and JSON files, by lower-case suffix
    sample: list[str] = field(default_factory=list)  # names of some text and JSON files
    backslashed: set[str] = field(default_factory=set)  # paths of files that have a backslash
    left_out: LeftOut = field(default_factory=LeftOut)


class FolderSource:
    """Image files below a folder, in virtual shards of about 5,000. Locators are paths.

    Key and shard of an image depend only on its path relative to the folder (`recaption.source.keys`), so added or
    removed files do not change the key or shard of other images. In outputs that predate this rule, shards are cut out
    of the list of files, sorted by path component; links to folders are not followed, and tables in subfolders are not
    read.

    An image that no table names takes its columns from files with the same stem, like a sample of a tar: each line of
    `a.txt` is a raw caption of `a.jpg`, and `a.json` holds columns. Files whose name begins with a dot are ignored. A
    file that a table names is an image, regardless of its suffix.
    """

    kind = "folder"
    has_images = True

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
        grown = cls(config)
        return cls(config, replace(grown.rule, beside=made.rule.beside))

    def __reduce__(self) -> tuple[Any, ...]:
        return FolderSource, (self.config, self.rule)  # without the listing, which may be large

    @cached_property
    def rule(self) -> FolderRule:
        """How keys and shards are made."""
        if self._given is not None:
            return self._given
        files = len(self._hashes)
        shards = 1 if files <= PART_SIZE else math.ceil(files / (_FILL * PART_SIZE))
        return FolderRule(keys="path", shards=shards, beside=True)

    @property
    def key_rule(self) -> KeyRule:
        return "positional" if self.config.keys == "positional" else self.rule.keys

    def files(self) -> frozenset[str]:
        return frozenset()  # shards are cuts of a folder that changes

    @cached_property
    def _scan(self) -> _Scan:
        return self._scanned(lambda name: False, pairs=True)

    def _scanned(self, wanted: Callable[[str], bool], *, pairs: bool = False) -> _Scan:
        """Walk the folder once. With `pairs`, also find which files belong to images.

        Raises SourceError if the folder does not exist.
        """
        if not is_folder(self.folder):
            raise SourceError(f"source.path: there is no folder {self.folder!r}")
        scan = _Scan()
        by_position = self._given == POSITIONS
        for name in walk(self.folder, follow=not by_position, left_out=scan.left_out):
            if "\\" in name:
                scan.backslashed.add(name)
            if is_image(name):
                scan.hashes.append(_hash(name))
                if pairs:
                    scan.stems.append(_hash(posixpath.splitext(name)[0]))
                if wanted(name):
                    scan.names.append(name)
            elif posixpath.basename(name) in METADATA:
                scan.tables.append(name)
            else:
                stem, suffix = posixpath.splitext(name)
                scan.others[suffix.lower()] += 1
                if is_text(suffix[1:].lower()):
                    scan.suffixes.add(suffix)
                    if pairs:
                        scan.texts.setdefault(suffix.lower(), array("Q")).append(_hash(stem))
                        scan.sample += [name] if len(scan.sample) < _SAMPLE else []
        if self.config.captions is None:
            # An output with keys by position does not read tables in subfolders.
            scan.read = first_of_each(name for name in scan.tables if not by_position or "/" not in name)
            scan.unread = sorted({*scan.tables} - {*scan.read})
        else:
            path = find_table(self.folder, self.config.captions)
            named = path.removeprefix(f"{self.folder}/")
            scan.unread = [name for name in scan.tables if name != named]
            if named != path and named not in scan.tables:  # it is in the folder, so it was counted among the others
                scan.others.subtract([posixpath.splitext(named)[1].lower()])
        return scan

    def _table_of(self, scan: _Scan) -> Table:
        if self.config.captions is not None:
            return read_table(find_table(self.folder, self.config.captions), backslashed=scan.backslashed)
        return read_tables(self.folder, scan.read, scan.backslashed)

    @cached_property
    def _table(self) -> Table:
        return self._table_of(self._scan)

    @cached_property
    def _hashes(self) -> npt.NDArray[np.uint64]:
        """Hashes of all images: eight bytes each, since names of ten million files take a gigabyte."""
        named = np.fromiter(map(_hash, self._table.rows), np.uint64)
        found = np.union1d(np.array(self._scan.hashes, np.uint64), named)
        if not len(found):
            raise self._no_image()
        return found

    def _no_image(self) -> SourceError:
        return SourceError(
            f"source.path: no image below {self.folder!r}; supported suffixes: {', '.join(SOURCE_SUFFIXES)}. "
            f"A table such as {METADATA[0]} may name files with other suffixes"
        )

    @cached_property
    def _sorted(self) -> list[str]:
        names = {*self._scanned(lambda name: True).names, *self._table.rows}
        if not names:
            raise self._no_image()
        return sorted(names, key=_by_component)

    def shards(self) -> Iterator[SourceShard]:
        base, rule = shard_id(self.folder.rpartition("/")[2]), self.rule
        if rule == POSITIONS:
            for number, first in enumerate(range(0, len(self._sorted), PART_SIZE)):
                count = min(PART_SIZE, len(self._sorted) - first)
                name = part_id(base, number)
                yield SourceShard(id=name, number=number, path=self.folder, first=first, count=count)
            return
        counts = np.bincount((self._hashes >> np.uint64(32)) * np.uint64(rule.shards) >> np.uint64(32))
        for number, count in enumerate(counts.tolist()):
            if count:
                yield SourceShard(id=part_id(base, number), number=number, path=self.folder, count=count)

    def columns(self) -> frozenset[str]:
        names = frozenset(name for row in self._table.rows.values() for name in row) | self._columns_beside()
        check_caption(self.config, names, self.config.captions or self.folder)
        return names

    def _columns_beside(self) -> frozenset[str]:
        """Columns from text and JSON files of images, as found in the first of these files."""
        found: set[str] = set()
        if self.rule.beside:
            scan, stems = self._scan, self._stems
            hashes = np.array([_hash(posixpath.splitext(name)[0]) for name in scan.sample], np.uint64)
            paired = [name for name, yes in zip(scan.sample, np.isin(hashes, stems), strict=True) if yes]
            for name in paired[:_HEAD]:
                texts = Texts()
                with suppress(ShardError):
                    texts.add(posixpath.splitext(name)[1][1:].lower(), read_all(f"{self.folder}/{name}"))
                found.update(texts.merged())
        return frozenset(found)

    @cached_property
    def _stems(self) -> npt.NDArray[np.uint64]:
        """Of the images that no table names."""
        return np.array(self._scan.stems, np.uint64)[~self._named]

    @cached_property
    def _named(self) -> npt.NDArray[np.bool_]:
        """For each image in the scan: whether a table names it."""
        known = np.fromiter(map(_hash, (*self._table.rows, *self._table.also)), np.uint64)
        return np.isin(np.array(self._scan.hashes, np.uint64), known)

    def unused(self) -> list[str]:
        scan, table = self._scan, self._table
        others = scan.others - Counter(posixpath.splitext(n)[1].lower() for n in table.rows if not is_image(n))
        beside = {
            suffix: int(np.isin(np.array(texts, np.uint64), self._stems).sum()) for suffix, texts in scan.texts.items()
        }
        if self.rule.beside:
            others -= Counter(beside)
        found = [f"files that are not images: {counted(others)}"] if others.total() else []
        if not self.rule.beside and any(beside.values()):
            found.append(f"of these beside an image: {counted(Counter(beside))} (this output predates reading them)")
        if scan.left_out.hidden:
            found.append(f"names that begin with a dot: {scan.left_out.hidden:,}")
        if scan.left_out.links and self.rule == POSITIONS:
            found.append(f"linked folders: {scan.left_out.links:,} (this output predates following them)")
        elif scan.left_out.links:
            found.append(f"links back into a folder above them: {scan.left_out.links:,}")
        if scan.left_out.unreadable:
            found.append(f"folders that cannot be read: {shortened(scan.left_out.unreadable)}")
        if scan.unread:
            found.append(f"tables: {shortened(scan.unread)} ({self._why_unread()})")
        if table.rows:
            without = ~self._named
            if self.rule.beside:
                texts = np.concatenate(
                    [np.array((), np.uint64), *(np.array(t, np.uint64) for t in scan.texts.values())]
                )
                without &= ~np.isin(np.array(scan.stems, np.uint64), texts)
            unnamed = int(without.sum())
            if unnamed:
                found.append(
                    f"tables, for images that they do not name: {unnamed:,} (a generation that needs a column rejects "
                    "them as not_in_table)"
                )
        return found + unused_captions(self.columns(), self.config)

    def _why_unread(self) -> str:
        if self.config.captions is not None:
            return f"source.captions names {self.config.captions}"
        if self.rule == POSITIONS:
            return "this output predates reading tables in subfolders"
        return "one table is read per folder"

    def signature(self, shard: SourceShard) -> str | None:
        return None  # a folder's modification time does not change with its files

    def index(self, shard: SourceShard) -> list[Image]:
        rule = self.rule
        if rule == POSITIONS:
            end = None if shard.count is None else shard.first + shard.count
            return images(shard, self._rows(self._sorted[shard.first : end], self._table, ()), self.config)

        def mine(name: str) -> bool:
            return _bucket(_hash(name), rule.shards) == shard.number

        scan = self._scanned(mine)
        table = self._table_of(scan)
        names = sorted({*scan.names, *filter(mine, table.rows)}, key=_by_component)
        keys = None if self.config.keys == "positional" else [path_key(name) for name in names]
        suffixes = sorted(scan.suffixes) if rule.beside else ()
        return images(shard, self._rows(names, table, suffixes), self.config, keys)

    def _rows(self, names: Sequence[str], table: Table, suffixes: Sequence[str]) -> list[Row]:
        return list(self._each(lambda name: self._row(name, table, suffixes), names))

    def _row(self, name: str, table: Table, suffixes: Sequence[str]) -> Row:
        """`suffixes` are those of files with the same stem that may hold the image's columns."""
        path, shown = f"{self.folder}/{name}", storable(name)
        columns = table.columns(name)
        row = Row(
            source_key=posixpath.splitext(shown)[0],
            locator=Locator(path=f"{self.folder}/{shown}", size=0),
            columns=columns or {},
        )
        if shown != name:
            row.reason, row.detail = "unreadable", f"the name of {shown} is not UTF-8. Rename the file"
            return row
        if name.startswith(("../", "/")) or name == "..":
            what = "is an absolute path" if name.startswith("/") else "is outside the folder"
            row.reason, row.detail = "missing_image", f"{name} {what}. Write paths relative to the table's folder"
            return row
        try:
            data = read_all(path)
        except ShardError as error:
            row.reason, row.detail = "unreadable", str(error)
            if name in table.rows and isinstance(error.__cause__, FileNotFoundError):
                row.reason, row.detail = "missing_image", f"the table names {name}, which is not in the folder"
            return row
        try:
            if columns is None:
                self._read_beside(name, suffixes, row)
        except ShardError as error:
            row.reason, row.detail = "unreadable", f"a file beside the image cannot be read: {error}"
            return row
        if columns is None and table.rows and not row.columns:
            row.detail = "no table names this image"
        if not data:
            row.reason, row.detail = "empty", f"{name} has no bytes"
            return row
        row.sha256, row.locator = hashlib.sha256(data).hexdigest(), Locator(path=path, size=len(data))
        row.read_header(data)
        return row

    def _read_beside(self, name: str, suffixes: Sequence[str], row: Row) -> None:
        """Read columns from files with the image's name and another suffix. Raises ShardError if one is unreadable."""
        texts = Texts()
        for suffix in suffixes:
            try:
                data = read_all(f"{self.folder}/{posixpath.splitext(name)[0]}{suffix}")
            except ShardError as error:
                if not isinstance(error.__cause__, FileNotFoundError):
                    raise
            else:
                texts.add(suffix[1:].lower(), data if len(data) <= MAX_JSON else None)
        row.columns, row.dropped, row.lines = texts.merged(), texts.dropped, texts.lines()

    def read(self, images: Sequence[Image]) -> Iterator[tuple[Image, bytes | ImageError]]:
        def data(image: Image) -> bytes | ImageError:
            try:
                return checked(image, read_all(image.locator.path))
            except ShardError as error:
                return unreadable(image, error)

        yield from zip(images, self._each(data, images), strict=True)

    def _each(self, call: Callable[[A], B], items: Sequence[A]) -> Iterator[B]:
        """Yield `call(item)` of each item, in order: at an object store, where each is a request, several at a time."""
        at_once = REQUESTS if is_url(self.folder) else 1
        for at in range(0, len(items), at_once):
            group = items[at : at + at_once]
            yield from each(call, group, at_once) if at_once > 1 else map(call, group)


def _hash(name: str) -> int:
    return int(path_digest(name), 16)


def _bucket(value: int, shards: int) -> int:
    """The shard of a hash: the upper half of the hash decides, and each shard has an equal part of its range."""
    return (value >> 32) * shards >> 32


def _by_component(name: str) -> list[str]:
    return name.split("/")
