"""Reads a finished build, shard by shard and sample by sample, in source order.

Texts are read from the flat tables, so that exporters of texts read no images. Rows and columns that an exporter does
not need are left out before Python objects are made, because making them takes most of the time. Memory holds the
texts of one shard and the image of one sample (format parquet: of one row group).
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recaption import schema
from recaption.errors import DatasetError, RecaptionError, UserError
from recaption.export import WITHOUT_IMAGE_FILES
from recaption.io.store import Store, open_store
from recaption.output.locate import find_build, read_manifest
from recaption.output.paths import ANSWERS, INDEX, PIPELINE
from recaption.tablefile import read_table
from recaption.types import SCHEMA_VERSION, Caption, Record
from recaption.write import ShardEntry

Split = Literal["train", "val", "all"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Select:
    """The rows and columns of a table that an exporter reads.

    `generations`: only rows that these generations made (None: all); custom tables have no generations. `named_in`:
    only rows about sub-captions that have a row in one of these tables. `columns` are read beside `key`; None: all.
    `verified_in`: a table with p_true, if the build has it; rows whose text is true according to it are left out.
    """

    columns: Sequence[str] | None = None
    generations: Collection[str] | None = None
    named_in: Sequence[str] = ()
    verified_in: str | None = None


LEAST_TRUE: Final = 0.5
"""A text counts as true if its mean p_true over the models is at least this."""
SUB_CAPTIONS: Final = "sub_captions"
_OF_IMAGES: Final = tuple(name for name in schema.IMAGES.names if name in {one.name for one in fields(Record)})
_OF_CAPTIONS: Final = (
    *("caption_id", "generation", "source", "granularity", "text"),
    *("lang", "translated_from", "aspect", "region_id"),
)
"""What exporters read of captions."""
_READ_AS_BUILT: Final = {"flair": "webdataset", "cosmos": "webdataset", "open_clip": "webdataset"}
"""Trainers that read a build of this format without an export."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A build. `out` is the store of its output; None if the build was copied from there."""

    store: Store  # has the build in the folder `prefix`
    prefix: str
    out: Store | None
    manifest: Mapping[str, Any]
    shards: tuple[ShardEntry, ...]  # in the manifest's order
    pipeline: Path | None = None  # the user's file, whose source is read instead of the output's
    preset: str | None = None  # of that file

    @classmethod
    def open(cls, path: str, pipeline: Path | None = None, preset: str | None = None) -> Dataset:
        """The build at `path`: an output (its published build), its `dataset`, or a build; a folder or a store's URL.

        Images of a sidecar are read from a host only if the file `pipeline`, with its `preset` applied, names that host
        in its source.

        Raises UserError if there is no build, or a preset without a pipeline; DatasetError for a build that is
        unfinished or of a newer version.
        """
        if preset is not None and pipeline is None:
            raise UserError(
                "--preset needs --pipeline FILE, the file that defines the preset. In the stored pipeline, the preset "
                "of its run is already applied"
            )
        build = find_build(path)
        inside = build.out is not None and build.store.url.startswith(f"{build.out.url}/")
        store = build.out if build.out and inside else open_store(build.store.url.rpartition("/")[0])
        prefix = build.store.url.removeprefix(f"{store.url}/")
        manifest = read_manifest(store, prefix)
        try:
            shards = tuple(ShardEntry.from_json(shard) for shard in manifest["shards"])
        except (KeyError, TypeError) as error:
            raise DatasetError(f"{store.url}/{prefix}/manifest.json is not a manifest: {error!r}") from error
        return cls(
            store=store,
            prefix=prefix,
            out=build.out,
            manifest=manifest,
            shards=shards,
            pipeline=pipeline,
            preset=preset,
        )

    @property
    def name(self) -> str:
        return str(self.manifest["name"])

    @property
    def format(self) -> str:
        return str(self.manifest["format"])

    @property
    def granularities(self) -> dict[str, str]:
        """The granularity of each generation, in pipeline order; without raw."""
        return {generation["id"]: generation["kind"] for generation in self.manifest["generations"]}

    @property
    def primary(self) -> tuple[str, ...]:
        return tuple(self.manifest["primary"])

    def samples(self, split: Split) -> int:
        """The number of usable samples."""
        counts = self.manifest["splits"]
        return int(sum(counts.values()) if split == "all" else counts[split])

    def records(
        self,
        shard: ShardEntry,
        split: Split = "train",
        *,
        generations: Collection[str] | None = None,
        granularities: Collection[str] = (),
    ) -> Iterator[Record]:
        """The shard's usable samples, in source order, with the captions of these generations (None: with all).

        Captions of other generations are read if they are of one of the `granularities`. Captions have the columns
        `_OF_CAPTIONS` and no sub-captions: see `table_rows`. Raises DatasetError if the tables are inconsistent.
        """
        reads_texts = generations is None or bool(generations or granularities)
        columns = ("key", *_OF_CAPTIONS) if reads_texts else ("key",)
        images, captions = self._usable(shard, split, columns)
        if generations is not None:
            captions = _of_generations(captions, generations, granularities) if reads_texts else captions[:0]
        found = TableRows(captions)
        for row in _rows(images):
            yield Record(**row, captions=tuple([Caption(**caption) for caption in found.of(row["key"])]))

    def rejected(self, shard: ShardEntry) -> list[str]:
        """The `source_key` of the shard's images, or classes, that were rejected."""
        images = self._table(shard, "images", ("source_key", "status"))
        return images.filter(pc.equal(images["status"], "reject"))["source_key"].to_pylist()

    def texts(
        self, shard: ShardEntry, split: Split, generations: Collection[str]
    ) -> tuple[pa.Table, dict[str, pa.ChunkedArray]]:
        """The shard's usable samples as rows of `images`, and for each generation their first texts, or null."""
        images, captions = self._usable(shard, split, ("key", "generation", "text"))
        made = {}
        for generation in generations:
            own = _of_generations(captions, [generation])
            at = pc.index_in(images["key"], value_set=own["key"].combine_chunks())
            made[generation] = own["text"].take(at.combine_chunks())
        return images, made

    def _usable(self, shard: ShardEntry, split: Split, columns: tuple[str, ...]) -> tuple[pa.Table, pa.Table]:
        """The usable rows of `images`, and the columns of `captions`. Each of these images has captions."""
        images = self._table(shard, "images", _OF_IMAGES)
        wanted = pc.is_in(images["status"], pa.array(["ok", "partial"]))
        if split != "all":
            wanted = pc.and_(wanted, pc.equal(images["split"], split))
        images, captions = images.filter(wanted), self._table(shard, "captions", columns)
        without = images["key"].filter(pc.invert(pc.is_in(images["key"], captions["key"].combine_chunks())))
        if len(without):
            raise DatasetError("a usable image without captions", key=without[0].as_py(), shard=shard.name)
        return images, captions

    def table_rows(
        self, shard: ShardEntry, table: str, select: Select, sub_ids: Collection[str] | None = None
    ) -> TableRows:
        """The selected rows of a table, with `key`; only those about `sub_ids`, if given."""
        given = select.generations
        columns = None
        if select.columns is not None:
            filtered = [*(["generation"] if given is not None else []), *(["sub_id"] if sub_ids is not None else [])]
            columns = tuple(dict.fromkeys(("key", *select.columns, *filtered)))
        found = self._table(shard, table, columns)
        if given is not None:
            found = _of_generations(found, given)
        if sub_ids is not None:
            found = found.filter(pc.is_in(found["sub_id"], pa.array(sub_ids, pa.string())))
        if select.columns is not None:
            found = found.select(list(dict.fromkeys(("key", *select.columns))))
        left_out: Counter[str] = Counter()
        if true := self._true_texts(shard, select.verified_in):
            pairs = zip(found["sub_id"].to_pylist(), found["text"].to_pylist(), strict=True)
            is_false = pa.array([pair not in true for pair in pairs], pa.bool_())
            left_out.update(found["key"].filter(pc.invert(is_false)).to_pylist())
            found = found.filter(is_false)
        return TableRows(found, with_key=True, left_out=left_out)

    def _true_texts(self, shard: ShardEntry, table: str | None) -> set[tuple[str, str]]:
        """`sub_id` and `text` of the rows of a table whose text is true according to the models."""
        if table is None or not self.has_table(table):
            return set()
        rows = self._table(shard, table, ("sub_id", "text", "p_true"))
        means = rows.group_by(["sub_id", "text"]).aggregate([("p_true", "mean")])
        true = means.filter(pc.greater_equal(means["p_true_mean"], LEAST_TRUE))
        return set(zip(true["sub_id"].to_pylist(), true["text"].to_pylist(), strict=True))

    def makers(self, table: str, task: str) -> tuple[str, ...]:
        """The generations that made a task's table, in pipeline order; none if the build does not have the table."""
        if table not in (spec["name"] for spec in self.manifest.get("tables", ())):
            return ()
        listed = (*self.manifest["generations"], *self.manifest.get("tasks", ()))
        return tuple(generation["id"] for generation in listed if generation.get("task") == task)

    def has_table(self, table: str) -> bool:
        """Whether all shards have the table."""
        return all(any(file.table == table for file in shard.files) for shard in self.shards)

    def file(self, path: str) -> str:
        """The path or URL of a file of the build."""
        return f"{self.store.url}/{self.prefix}/{path}"

    def read(self, path: str, shard: str) -> bytes:
        """The contents of a file of the build. Raises DatasetError if it is missing."""
        try:
            return self.store.get(f"{self.prefix}/{path}")
        except FileNotFoundError as error:
            raise DatasetError(f"{self.file(path)} is missing", shard=shard) from error

    def _table(self, shard: ShardEntry, table: str, columns: tuple[str, ...] | None = None) -> pa.Table:
        """These columns of a table, or all. A column that the version of the build does not have is left out."""
        path = next((file.path for file in shard.files if file.table == table), None)
        if path is None:
            raise DatasetError(f"the manifest does not list the table {table}", shard=shard.name)
        try:
            data = pa.BufferReader(self.read(path, shard.name))
            if columns is None:
                return read_table(data)
            stored = pq.read_schema(data)
            flat = schema.flat().get(table)
            if flat is not None:
                version = (stored.metadata or {}).get(schema.VERSION_KEY, SCHEMA_VERSION.encode()).decode()
                columns = tuple(name for name in columns if name in schema.as_of(flat, version).names)
            return read_table(data, columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise DatasetError(f"{self.file(path)} cannot be read: {error}", shard=shard.name) from error


@dataclass(slots=True)
class Rows:
    """Adjacent rows of columns; by default, no rows. Iteration makes a dictionary of each row, `values` makes none."""

    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    start: int = 0
    end: int = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(dict, map(zip, repeat(self.columns), self.values(*self.columns)))

    def values(self, *names: str) -> Iterator[tuple[Any, ...]]:
        """The values of these columns, row by row."""
        if self.start == self.end:
            return iter(())
        return zip(*[self.columns[name][self.start : self.end] for name in names], strict=True)

    def where(self, name: str, value: Any) -> list[dict[str, Any]]:
        """The rows with this value in a column."""
        column = self.columns.get(name, ())
        found = [n for n in range(self.start, self.end) if column[n] == value]
        return [{name: values[n] for name, values in self.columns.items()} for n in found]


class TableRows(Mapping[str, Sequence[Mapping[str, Any]]]):
    """The rows of a table by the key of their image, in the order of the table.

    The columns are kept as lists. Each read of a key makes the dictionaries of its rows, so that those of a whole shard
    do not exist at once; `of` makes none. `left_out` counts the rows of a key that are not among them, because their
    text is true (`Select.verified_in`).
    """

    def __init__(self, table: pa.Table, *, with_key: bool = False, left_out: Counter[str] | None = None) -> None:
        self.left_out: Counter[str] = Counter() if left_out is None else left_out
        places, are_adjacent = _places(table["key"])
        if not are_adjacent:
            row = pa.array(range(len(table)), pa.int64())
            order = pa.table({"key": table["key"], "row": row})
            table = table.take(pc.sort_indices(order, sort_keys=[("key", "ascending"), ("row", "ascending")]))
            places, _ = _places(table["key"])
        self._places = places
        names = [name for name in table.column_names if with_key or name != "key"]
        self._columns = {name: table[name].to_pylist() for name in names}

    def __getitem__(self, key: str) -> list[dict[str, Any]]:
        return [*Rows(self._columns, *self._places[key])]

    def of(self, key: str) -> Rows:
        """The rows of a key, which may have none."""
        return Rows(self._columns, *self._places.get(key, (0, 0)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def column(self, name: str) -> Sequence[Any]:
        """The values of all rows."""
        return self._columns[name]


def _places(keys: pa.ChunkedArray) -> tuple[dict[str, tuple[int, int]], bool]:
    """The first row of each key and the row after its last, and whether all rows of each key are adjacent."""
    runs = pc.run_end_encode(keys.combine_chunks())
    places = dict(zip(runs.values.to_pylist(), pairwise([0, *runs.run_ends.to_pylist()]), strict=True))
    return places, len(places) == len(runs.values)


def _of_generations(table: pa.Table, generations: Collection[str], granularities: Collection[str] = ()) -> pa.Table:
    wanted = pc.is_in(table["generation"], pa.array(generations, pa.string()))
    if granularities:
        wanted = pc.or_(wanted, pc.is_in(table["granularity"], pa.array(granularities, pa.string())))
    return table.filter(wanted)


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=1024):
        yield from batch.to_pylist()


def refuse_output(path: str, name: str) -> None:
    """Raises UserError, with the export command, for an output or a build that the trainer `name` cannot read."""
    shown = shlex.quote(path)
    try:
        dataset = Dataset.open(path)
    except (UserError, RecaptionError):
        if _is_unfinished(path):
            raise UserError(
                f"{path} is an output of recaption without a finished build, not a dataset for {name}. Finish it with "
                f"recaption run, then export it: recaption export {shown} DEST --to {name}"
            ) from None
        return
    if _READ_AS_BUILT.get(name) != dataset.format:
        images = "" if name in WITHOUT_IMAGE_FILES else " --images jpg"
        raise UserError(
            f"{path} is an output of recaption (format {dataset.format}), not a dataset for {name}. Export it first: "
            f"recaption export {shown} DEST --to {name}{images}; then recaption validate DEST --for {name}. To check "
            f"the output itself: recaption validate {shown}"
        )


def _is_unfinished(path: str) -> bool:
    try:
        store = open_store(path)
        return store.exists(PIPELINE) and any(name in (ANSWERS, INDEX) for name in store.folders(""))
    except (UserError, RecaptionError, OSError):
        return False
