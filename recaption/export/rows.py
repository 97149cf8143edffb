"""Exports of one row or several per sample: in JSON lists, JSON objects or CSV files, with image files if wanted."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson

from recaption.errors import UserError
from recaption.export.base import (
    IMAGES,
    Exported,
    Options,
    Usage,
    begin,
    refuse_shard_size,
    rotated,
    shards,
)
from recaption.export.dataset import LEAST_TRUE, SUB_CAPTIONS, Dataset, Rows, Select, TableRows
from recaption.export.image_files import MISSING, PixelBox, WriteImage, file_name, with_files
from recaption.export.unfinished import removed_on_failure
from recaption.formatting import number_of
from recaption.io import files
from recaption.io.outfile import outfile
from recaption.io.store import Store
from recaption.text import sha256
from recaption.types import Caption, Record
from recaption.write import ShardEntry

Row = dict[str, Any]
Add = Callable[[Any], object]
"""Appends a row to a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSample:
    """A record with the rows of tables, by the table's name.

    `path` is for trainers that open it as it is: absolute if the export has image files, else only the file name.
    """

    record: Record
    tables: Mapping[str, Rows] = field(default_factory=dict)
    path: str = ""

    def caption(self, generation: str) -> Caption | None:
        """The first caption of a generation."""
        return next((caption for caption in self.record.captions if caption.generation == generation), None)

    def sub_captions(self, caption: Caption) -> list[dict[str, Any]]:
        """The rows of the table `sub_captions` that are of a caption, in its order. They need `caption_id`."""
        return self.tables[SUB_CAPTIONS].where("caption_id", caption.caption_id)

    @property
    def image(self) -> str:
        """The name of its image file."""
        return file_name(self.record)


Made = Sequence[tuple[str, Any]]
"""The rows of a sample, each with the name of its file."""


def path_of(dest: str, file: str = "") -> str:
    """The absolute path of a file of an export, or of its folder, quoted for a shell."""
    return shlex.quote(f"{files.absolute(dest).rstrip('/')}/{file}".rstrip("/"))


def items(write: Callable[[bytes], object]) -> Callable[[bytes], object]:
    """A function that writes the items of a JSON list or object: each in a line, with commas between them."""
    before = b"\n"

    def add(item: bytes) -> None:
        nonlocal before
        write(before + item)
        before = b",\n"

    return add


@contextmanager
def json_list(store: Store, path: str) -> Iterator[Add]:
    """A file with one JSON list; each row is a line."""
    with outfile(store, path, hashed=False) as sink:
        sink.write(b"[")
        add = items(sink.write)
        yield lambda row: add(orjson.dumps(row))
        sink.write(b"\n]\n")


@contextmanager
def json_object(store: Store, path: str) -> Iterator[Add]:
    """A file with one JSON object; each row is a pair of a name and a value, in a line."""
    with outfile(store, path, hashed=False) as sink:
        sink.write(b"{")
        add = items(sink.write)
        yield lambda row: add(orjson.dumps(row[0]) + b": " + orjson.dumps(row[1]))
        sink.write(b"\n}\n")


def csv_file(*header: str) -> FileKind:
    """A CSV file; each row is a sequence of at least two cells."""

    @contextmanager
    def opened(store: Store, path: str) -> Iterator[Add]:
        with outfile(store, path, hashed=False) as sink:

            def add(cells: Iterable[Any]) -> None:
                sink.write(f"{','.join(map(_csv_cell, cells))}\n".encode())

            if header:
                add(header)
            yield add

    return opened


def _csv_cell(value: Any) -> str:
    """A cell as `csv.writer` writes it, but without its loop over each character, which is slow.

    A carriage return is quoted in all versions of Python, because readers take it for a line end.
    """
    text = value if isinstance(value, str) else str(value)
    if "," in text or '"' in text or "\n" in text or "\r" in text:
        return '"' + text.replace('"', '""') + '"'
    return text


Tables = Mapping[str, Select]
"""The tables whose rows an exporter reads, by name."""
FileKind = Callable[[Store, str], Any]
"""Opens a file of the store for rows: `json_list`, `json_object`, or one that `csv_file` makes."""
NO_IMAGE: Final = "it is a class, without an image"
PLACE: Final = "{images}"
"""Stands for the folder of the images in notes and arguments; FOLDER is printed if there are no image files."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFiles:
    """The files of an export, and what it reads and prints.

    kinds: the files that are always written; other names in a row are JSON lists.
    tables: the tables whose rows a sample has; a table comes after those in its `named_in`.
    generations: those whose captions are read; None: all. Others are read if they have one of the `granularities`.
    in_images: the files name images in the folder `images` of the export, whether it has image files or not.
    crops: by file name, the parts of an image that are written beside it if there are image files.
    least: the number of samples that the trainer needs to start.
    check: called at the end; raises UserError if the export is useless.
    usage, notes: texts for the user; they may contain PLACE.
    """

    kinds: Mapping[str, FileKind]
    notes: Sequence[str] = ()
    usage: Sequence[Usage] = ()
    tables: Tables = field(default_factory=dict)
    generations: Collection[str] | None = None
    granularities: Collection[str] = ()
    in_images: bool = False
    crops: Callable[[ExportSample], Mapping[str, PixelBox]] = lambda sample: {}
    least: int = 1
    check: Callable[[], object] | None = None


def export_rows(
    dataset: Dataset, dest: str, options: Options, layout: ExportFiles, row: Callable[[ExportSample], Made | str]
) -> Exported:
    """Write the files, and image files if wanted. `row` returns the rows of a sample, or the reason to leave it out.

    A note counts the rows that are left out because their text is true (`Select.verified_in`). If the export fails,
    nothing is left in `dest`. Raises UserError if there are fewer than `layout.least` samples.
    """
    refuse_shard_size(options, next(iter(layout.kinds)))
    store = begin(dataset, dest, options, names_images=True)
    left_out: Counter[str] = Counter()
    verified = {
        name: select.verified_in
        for name, select in layout.tables.items()
        if select.verified_in is not None and dataset.has_table(select.verified_in)
    }
    true: Counter[str] = Counter()  # rows of these tables whose text is true
    written = 0
    folder = f"{files.absolute(dest).rstrip('/')}/{IMAGES}"
    root = f"{folder}/" if options.with_images else ""
    with removed_on_failure(store), ExitStack() as opened:
        adds: dict[str, Add] = {name: opened.enter_context(kind(store, name)) for name, kind in layout.kinds.items()}
        for sample, write_image, found in _samples(dataset, options, store, layout, root):
            made: Made | str = (
                NO_IMAGE if _has_no_image(sample.record) else MISSING if write_image is None else row(sample)
            )
            if isinstance(made, str):
                left_out[made] += 1
                continue
            assert write_image is not None
            write_image(layout.crops(sample))
            for name, line in made:
                if name not in adds:
                    adds[name] = opened.enter_context(json_list(store, name))
                adds[name](line)
            for name in verified:
                true[name] += found[name].left_out[sample.record.key]
            written += 1
        if written < layout.least:
            reasons = "".join(f"\n  left out: {count:,} ({reason})" for reason, count in left_out.items())
            needed = f"{number_of(written, 'sample')}, but the trainer needs at least {layout.least:,}"
            raise UserError(f"{needed if written else 'no sample can be exported'}{reasons}")
        if layout.check is not None:
            layout.check()
    place = shlex.quote(folder) if root or layout.in_images else "FOLDER"
    notes = [note.replace(PLACE, place) for note in layout.notes]
    notes += [
        f"left out: {true[name]:,} {name} with a mean p_true of at least {LEAST_TRUE} in the table {table}"
        for name, table in verified.items()
    ]
    if not root and layout.in_images:
        notes.append(f"{place} is without the images, KEY.jpg: unpack them there, or use --images jpg")
    elif not root:
        texts = (*layout.notes, *(one.arguments for one in layout.usage))
        what = "FOLDER is the folder with" if any(PLACE in text for text in texts) else "DEST is without"
        notes.append(f"{what} the unpacked images, KEY.jpg; --images jpg writes them")
    if options.images != "jpg":
        notes.extend(rotated(dataset))
    usage = tuple(replace(one, arguments=one.arguments.replace(PLACE, place)) for one in layout.usage)
    return Exported(samples=written, files=len(adds), left_out=left_out, notes=tuple(notes), usage=usage)


def _has_no_image(record: Record) -> bool:
    """Whether the record is a class (`source.format: classes`): its sha256 is that of its name."""
    return record.width is None and record.sha256 == sha256(record.source_key)


def _samples(
    dataset: Dataset, options: Options, store: Store, layout: ExportFiles, root: str
) -> Iterator[tuple[ExportSample, WriteImage | None, Mapping[str, TableRows]]]:
    for shard in shards(dataset, options):
        found = rows_of(dataset, shard, layout.tables)
        records = dataset.records(
            shard, options.split, generations=layout.generations, granularities=layout.granularities
        )
        for record, write_image in with_files(dataset, shard, options, store, records):
            yield sample_of(record, found, root), write_image, found


def rows_of(dataset: Dataset, shard: ShardEntry, tables: Tables) -> Mapping[str, TableRows]:
    """The rows of a shard by table."""
    made: dict[str, TableRows] = {}
    for name, select in tables.items():
        named = {sub_id for of in select.named_in for sub_id in made[of].column("sub_id")}
        made[name] = dataset.table_rows(shard, name, select, sub_ids=named if select.named_in else None)
    return made


def sample_of(record: Record, tables: Mapping[str, TableRows], root: str = "") -> ExportSample:
    """A record with its rows. `root` is the folder of the images, with a slash, if the export has image files."""
    rows = {name: by_key.of(record.key) for name, by_key in tables.items()}
    return ExportSample(record=record, tables=rows, path=f"{root}{file_name(record)}")
