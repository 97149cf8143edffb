"""Exports of one row or several per sample: in JSON lists, JSON objects or CSV files, with image files if wanted."""

from __future__ import annotations

import csv
import io
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from recaption.errors import UserError
from recaption.export.base import IMAGES, Exported, Options, begin, refuse_shard_size, removed_on_failure, rotated
from recaption.export.dataset import Dataset, TableRows
from recaption.export.image_files import MISSING, file_name, with_files
from recaption.io import files
from recaption.io.outfile import outfile
from recaption.io.store import Store
from recaption.types import Record

Row = dict[str, Any]
Add = Callable[[Any], object]
"""Appends a row to a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """A record with the rows of tables, by the table's name.

    `path` is for trainers that open images without a folder of images: absolute if the export has image files, else
    the name alone.
    """

    record: Record
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    path: str = ""

    @property
    def image(self) -> str:
        """The name of its image file."""
        return file_name(self.record)


Made = Sequence[tuple[str, Any]]
"""What an export has of a sample: rows with the names of their files."""


def path_of(dest: str, file: str = "") -> str:
    """The absolute path of a file of an export, or of its folder, as a word of a command line."""
    return shlex.quote(f"{files.absolute(dest).rstrip('/')}/{file}".rstrip("/"))


@contextmanager
def json_list(store: Store, path: str) -> Iterator[Add]:
    """A file with one JSON list; each row is a line."""
    with outfile(store, path) as sink:
        sink.write(b"[")

        def add(row: Any) -> None:
            sink.write((b",\n" if sink.size > 1 else b"\n") + orjson.dumps(row))

        yield add
        sink.write(b"\n]\n")


@contextmanager
def json_object(store: Store, path: str) -> Iterator[Add]:
    """A file with one JSON object; each row is a pair of a name and a value, in a line."""
    with outfile(store, path) as sink:
        sink.write(b"{")

        def add(row: tuple[str, Any]) -> None:
            name, value = row
            sink.write((b",\n" if sink.size > 1 else b"\n") + orjson.dumps(name) + b": " + orjson.dumps(value))

        yield add
        sink.write(b"\n}\n")


def csv_file(*header: str) -> FileKind:
    """A CSV file; each row is a sequence of cells."""

    @contextmanager
    def opened(store: Store, path: str) -> Iterator[Add]:
        with outfile(store, path) as sink:

            def add(cells: Iterable[Any]) -> None:
                out = io.StringIO()
                csv.writer(out, lineterminator="\n").writerow(cells)
                sink.write(out.getvalue().encode())

            if header:
                add(header)
            yield add

    return opened


FileKind = Callable[[Store, str], Any]
"""Opens a file of the store for rows: `json_list`, `json_object`, or one that `csv_file` makes."""
PLACE: Final = "{images}"
"""In `notes` of `export_rows`: the folder of the images."""


def export_rows(
    dataset: Dataset,
    dest: str,
    options: Options,
    *,
    kinds: Mapping[str, FileKind],
    row: Callable[[Sample], Made | str],
    notes: Iterable[str],
    tables: Mapping[str, str | None] | None = None,
    sub_captions: bool = False,
    least: int = 0,
) -> Exported:
    """Write the files of `kinds`, and image files if wanted. A JSON list is written for any other name in a row.

    `row` returns the rows of a sample, or the reason why it is left out. `tables` has the generation of each table that
    a sample has rows of (see `needs`); None: the build makes it. If a row fails, nothing is left in `dest`.
    Raises UserError if there are fewer than `least` samples.
    """
    refuse_shard_size(options, next(iter(kinds)))
    store = begin(dataset, dest, options, names_images=True)
    left_out: Counter[str] = Counter()
    written = 0
    folder = f"{files.absolute(dest).rstrip('/')}/{IMAGES}"
    root = "" if options.images == "none" else f"{folder}/"
    with removed_on_failure(store), ExitStack() as opened:
        adds: dict[str, Add] = {name: opened.enter_context(kind(store, name)) for name, kind in kinds.items()}
        for sample, keep in _samples(dataset, options, store, tables or {}, sub_captions):
            sample = replace(sample, path=f"{root}{sample.image}")
            made: Made | str = MISSING if keep is None else row(sample)
            if isinstance(made, str):
                left_out[made] += 1
                continue
            assert keep is not None
            keep()
            for name, line in made:
                if name not in adds:
                    adds[name] = opened.enter_context(json_list(store, name))
                adds[name](line)
            written += 1
        if written < least:
            reasons = "".join(f"\n  left out: {count:,} ({reason})" for reason, count in left_out.items())
            raise UserError(f"{written:,} samples, but the trainer needs at least {least:,}{reasons}")
    lines = [note.replace(PLACE, folder if root else "FOLDER") for note in notes]
    if options.images == "none":
        lines.append("FOLDER has the unpacked images, KEY.jpg; --images jpg writes them")
    if options.images != "jpg":
        lines.extend(rotated(dataset))
    return Exported(samples=written, files=len(adds), left_out=left_out, notes=tuple(lines))


def _samples(
    dataset: Dataset, options: Options, store: Store, tables: Mapping[str, str | None], sub_captions: bool
) -> Iterator[tuple[Sample, Callable[[], object] | None]]:
    for done, shard in enumerate(dataset.shards):
        options.progress(done, len(dataset.shards))
        found: dict[str, TableRows] = {
            name: dataset.table_rows(shard, name, generation) for name, generation in tables.items()
        }
        for record, keep in with_files(dataset, shard, options, store, sub_captions=sub_captions):
            rows = {name: by_key.get(record.key, ()) for name, by_key in found.items()}
            yield Sample(record=record, tables=rows), keep
    options.progress(len(dataset.shards), len(dataset.shards))
