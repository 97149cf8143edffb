"""Lists of URLs as people have them (txt, csv, tsv, jsonl, json, parquet, .gz of the text ones, a folder of one kind)
become one Parquet file: `row`, `url`, `caption`, and the original columns with their types.

img2dataset is given only the row number and the URL. It reads whole files into memory, refuses columns whose names it
uses itself, and drops a sample in silence when one of its values cannot go into JSON; none of that touches us this way.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from recaption.errors import UserError

KINDS: Final = ("txt", "csv", "tsv", "jsonl", "json", "parquet")
RESERVED: Final = frozenset(
    {"row", "key", "url", "caption", "status", "error_message", "attempts", "width", "height", "original_width"}
    | {"original_height", "exif", "md5", "sha256", "sha512", "image", "jpg", "txt"}
)
_BATCH: Final = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class UrlList:
    """A list found to be readable: its files, all of one kind, and its columns."""

    files: tuple[Path, ...]
    kind: str
    columns: tuple[str, ...]


def find(urls: str) -> UrlList:
    """The list at a path. Raises UserError: nothing there, a kind that is not read, or no columns."""
    path = Path(urls).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.is_file() and _kind(file) in KINDS)
        kinds = {_kind(file) for file in files}
        if len(kinds) != 1:
            raise UserError(
                f"{urls} is a folder with {' and '.join(sorted(kinds)) or 'no'} lists; expected files of one kind out "
                f"of {', '.join(KINDS)}"
            )
    elif path.is_file():
        files = [path]
    else:
        raise UserError(f"list of URLs {urls!r}: there is no such file or folder")
    kind = _kind(files[0])
    if kind not in KINDS:
        raise UserError(f"{urls}: expected a name that ends in {', '.join('.' + k for k in KINDS)} (text also .gz)")
    columns = dict.fromkeys(name for file in files for name in _schema(file, kind).names)
    return UrlList(files=tuple(files), kind=kind, columns=tuple(columns))


def check(found: UrlList, url_column: str, caption_column: str | None) -> None:
    """Raises UserError naming the columns that there are."""
    for option, name in (("--url-column", url_column), ("--caption-column", caption_column)):
        if name is None or name in found.columns or (found.kind == "txt" and option == "--caption-column"):
            continue
        hint = "" if name != caption_column else ", or an empty name for a list without captions"
        if found.kind in ("csv", "tsv"):
            hint += ". A file without a header line needs one: these would be its first row"
        raise UserError(
            f"{found.files[0]} has no column {name!r}; its columns are: {', '.join(found.columns) or 'none'}. "
            f"Name one with {option}{hint}"
        )


def digest(found: UrlList) -> str:
    """sha256 of the files' bytes, in order."""
    sums = hashlib.sha256()
    for path in found.files:
        with open(path, "rb") as file:
            sums.update(hashlib.file_digest(file, "sha256").digest())
    return sums.hexdigest()


def normalise(
    found: UrlList, target: Path, *, url_column: str, caption_column: str | None, rows_per_group: int
) -> tuple[int, dict[str, str]]:
    """Write the list to `target`. Returns the number of rows and the original columns that had to be renamed.

    Columns whose names mean something else in the output get `input_` before them. Raises UserError on broken files.
    """
    if found.kind == "txt":
        url_column, caption_column = "url", None
    try:
        schema = pa.unify_schemas([_schema(file, found.kind) for file in found.files], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise UserError(f"the files of {found.files[0].parent} do not fit together: {error}") from error
    renamed, names = {}, []
    for name in schema.names:
        new = "url" if name == url_column else "caption" if name == caption_column else name
        if new == name and name in RESERVED and name not in (url_column, caption_column):
            new = renamed[name] = f"input_{name}"
        names.append(new)
    if len(set(names)) < len(names):
        raise UserError(f"{found.files[0]}: columns that would get the same name: {', '.join(names)}")
    fields = [
        pa.field(new, pa.string() if new in ("url", "caption") else field.type)
        for new, field in zip(names, schema, strict=True)
    ]
    out_schema = pa.schema([pa.field("row", pa.int64()), *fields])
    row = 0
    temporary = target.with_name(f"{target.name}.tmp")
    try:
        with pq.ParquetWriter(temporary, out_schema, compression="zstd") as writer:
            held: list[pa.Table] = []
            for batch in chain.from_iterable(_batches(file, found.kind, schema) for file in found.files):
                arrays = [_text(a) if n in ("url", "caption") else a for n, a in zip(names, batch.columns, strict=True)]
                numbers = pa.array(range(row, row + batch.num_rows), pa.int64())
                held.append(pa.Table.from_arrays([numbers, *arrays], schema=out_schema))
                row += batch.num_rows
                held = _flush(writer, held, rows_per_group)
            _flush(writer, held, 1)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {', '.join(map(str, found.files))}: {error}") from error
    temporary.replace(target)
    return row, renamed


def _flush(writer: pq.ParquetWriter, held: list[pa.Table], size: int) -> list[pa.Table]:
    """Write row groups of exactly `size` rows (size 1: what is left, as one group); returns the rest."""
    table = pa.concat_tables(held) if held else None
    if table is None or table.num_rows < size:
        return held
    whole = table.num_rows if size == 1 else table.num_rows - table.num_rows % size
    writer.write_table(table.slice(0, whole), row_group_size=whole if size == 1 else size)
    return [table.slice(whole)] if whole < table.num_rows else []


def _kind(path: Path) -> str:
    suffixes = [suffix.lstrip(".").lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] == "gz":
        suffixes.pop()
        return suffixes[-1] if suffixes and suffixes[-1] != "parquet" else ""
    return suffixes[-1] if suffixes else ""


def _text(array: pa.Array) -> pa.Array:
    if pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type):  # a CSV that is not UTF-8 throughout
        values = (value.as_py() for value in array)
        return pa.array([v if v is None else v.decode("utf-8", "replace") for v in values], pa.string())
    return array.cast(pa.string())


def _binary(path: Path) -> IO[bytes]:
    return gzip.open(path, "rb") if path.suffix.lower() == ".gz" else open(path, "rb")  # type: ignore[return-value]


def _schema(path: Path, kind: str) -> pa.Schema:
    """Column names and types. CSV columns stay text: types guessed from a first block may not hold for the last one."""
    if kind == "txt":
        return pa.schema([("url", pa.string())])
    try:
        if kind == "parquet":
            return pq.read_schema(path).remove_metadata()
        if kind in ("jsonl", "json"):
            return _json_schema(path)
        with _binary(path) as file:
            line = file.readline(1 << 20).decode("utf-8-sig", "replace").strip("\r\n")
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise UserError(f"cannot read {path} as {kind}: {error}") from error
    import csv

    names = next(csv.reader([line], delimiter="\t" if kind == "tsv" else ","), [])
    return pa.schema([(name, pa.string()) for name in names])


def _batches(path: Path, kind: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    if kind == "parquet":
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_BATCH, use_threads=False):
                yield _fit(batch, schema)
    elif kind in ("jsonl", "json"):
        rows = _objects(path)
        while some := list(islice(rows, _BATCH)):
            columns = [_column([row.get(field.name) for row in some], field.type) for field in schema]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)
    elif kind == "txt":
        with _binary(path) as file:
            lines = (line.decode("utf-8", "replace").strip().removeprefix("\ufeff") for line in file)
            urls = (line for line in lines if line)
            while some_urls := list(islice(urls, _BATCH)):
                yield pa.RecordBatch.from_arrays([pa.array(some_urls, pa.string())], schema=schema)
    else:
        names = _schema(path, kind).names
        options = pa.csv.ConvertOptions(column_types={name: pa.binary() for name in names}, strings_can_be_null=False)
        parse = pa.csv.ParseOptions(delimiter="\t" if kind == "tsv" else ",", newlines_in_values=True)
        with _binary(path) as file, pa.csv.open_csv(file, parse_options=parse, convert_options=options) as reader:
            for batch in reader:
                # bytes first: one caption that is not UTF-8 is no reason to refuse ten million rows
                arrays = [_text(array) for array in batch.columns]
                yield _fit(pa.RecordBatch.from_arrays(arrays, names=batch.schema.names), schema)


def _fit(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with the columns of the whole list: those that this file lacks are null."""
    have = set(batch.schema.names)
    arrays = [batch.column(f.name).cast(f.type) if f.name in have else pa.nulls(batch.num_rows, f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _objects(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON-lines file, or of a file that is one JSON array. Raises UserError with the line."""
    import orjson

    with _binary(path) as file:
        first = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
        file.seek(0)
        if first.startswith(b"["):
            try:
                items = enumerate(orjson.loads(file.read().removeprefix(b"\xef\xbb\xbf")))
            except orjson.JSONDecodeError as error:
                raise UserError(f"{path} is not JSON: {error}") from error
        else:
            items = ((n, line) for n, line in enumerate(file, 1) if line.strip())  # type: ignore[assignment]
        for number, item in items:
            try:
                value = orjson.loads(item.removeprefix(b"\xef\xbb\xbf")) if isinstance(item, bytes) else item
            except orjson.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not JSON: {error}") from error
            if not isinstance(value, dict):
                raise UserError(f"{path}, entry {number}: expected an object such as {{'url': …}}, got {value!r:.80}")
            yield value


def _json_schema(path: Path) -> pa.Schema:
    """Names in order of appearance, types that hold for all rows; text for a column that mixes kinds."""
    types: dict[str, pa.DataType] = {}
    rows = _objects(path)
    while some := list(islice(rows, _BATCH)):
        for name in dict.fromkeys(chain.from_iterable(some)):
            types[name] = _common(types.get(name), [row.get(name) for row in some])
    return pa.schema([(name, pa.string() if pa.types.is_null(kind) else kind) for name, kind in types.items()])


def _common(known: pa.DataType | None, values: list[Any]) -> pa.DataType:
    try:
        seen = pa.array(values).type  # infer_type alone takes the first kind that it sees
        if known is None:
            return seen
        schemas = [pa.schema([("x", known)]), pa.schema([("x", seen)])]
        return pa.unify_schemas(schemas, promote_options="permissive").field("x").type
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.string()


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    import orjson

    if pa.types.is_string(kind):
        values = [v if v is None or isinstance(v, str) else orjson.dumps(v).decode() for v in values]
    return pa.array(values, kind)
