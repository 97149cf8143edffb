"""The SQL of the views. `schemas/views.sql` is the same for plain DuckDB; a test keeps the columns equal.

Files of a run in progress are named one by one: not all of them are tables yet.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from recaption import schema
from recaption.errors import ShardError
from recaption.inspect.paths import OutputPaths, footer, names
from recaption.inspect.sql import identifier, quoted
from recaption.io.files import is_url, read_all
from recaption.output.paths import ANSWERS, REJECTS

if TYPE_CHECKING:
    import duckdb

VIEWS = ("images", "captions", "sub_captions", "objects", "tags", "rejects", "shards", "answers", "runs")
"""The documented views; `records` is another name for `images`."""


_ANSWERS = pa.schema([pa.field("generation", pa.string()), pa.field("fingerprint", pa.string()), *schema.ANSWERS])
_TIMES = ("started", "finished", "updated")
_RUNS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("v", "run", "command")),
        *(pa.field(name, pa.timestamp("us")) for name in _TIMES[:2]),
        pa.field("exit_code", pa.int64()),
    ]
)
_COUNTS = ("images", "ok", "partial", "reject", "excluded", "captions", "sub_captions", "tags", "words")
_FILE = {"path": "VARCHAR", "table": "VARCHAR", "split": "VARCHAR", "rows": "BIGINT", "bytes": "BIGINT"}
_SHARD = {
    "name": "VARCHAR",
    "files": [_FILE | {"sha256": "VARCHAR"}],
    "counts": dict.fromkeys(_COUNTS, "BIGINT"),
    "splits": {"train": "BIGINT", "val": "BIGINT"},
}
_SHARDS = json.dumps({"shards": [_SHARD]})  # as from_json takes it


def create(connection: duckdb.DuckDBPyConnection, outputs: Sequence[OutputPaths]) -> None:
    """Create all views. A table that has no files yet becomes an empty view with the columns it will have.

    Over several outputs every view has a column `dataset`, the output's name, and the columns that any of them has.
    Raises DatasetError when a table was written by a newer major version, or not by recaption.
    """
    parts = [_bodies(output) for output in outputs]
    bodies = parts[0] if len(parts) == 1 else _united(names(outputs), parts)
    bodies |= {"records": "SELECT * FROM images", "objects": _objects(outputs)}
    for name, body in bodies.items():
        connection.execute(f'CREATE VIEW "{name}" AS {body}')
    _create_runs(connection, outputs)


def _bodies(output: OutputPaths) -> dict[str, str]:
    answers = _answers(output)
    bodies = {
        "images": _build_table(output, "images", schema.IMAGES),
        "captions": _build_table(output, "captions", schema.CAPTIONS),
        "sub_captions": _build_table(output, "sub_captions", schema.sub_captions()),
        "tags": _build_table(output, "tags", schema.TAGS),
        "shards": _shards(output),
        "answers": answers,
        "rejects": _build_table(output, "rejects", schema.REJECTS) if output.build else _run_rejects(output, answers),
    }
    return bodies | {name: _build_table(output, name, pa.schema([])) for name in output.custom_tables()}


def _united(datasets: Sequence[str], parts: Sequence[dict[str, str]]) -> dict[str, str]:
    """One query per output, which DuckDB binds by one file; `union_by_name` over all files would open every file."""
    views = list(dict.fromkeys(name for bodies in parts for name in bodies))
    return {
        view: " UNION ALL BY NAME ".join(
            f"(SELECT {quoted(dataset)} AS dataset, * FROM ({bodies[view]}))"
            for dataset, bodies in zip(datasets, parts, strict=True)
            if view in bodies
        )
        for view in views
    }


def _build_table(output: OutputPaths, name: str, columns: pa.Schema) -> str:
    """The table's files; columns that an older version did not have are null."""
    first = output.first_of_build(name)
    if first is None:
        return _empty(columns)
    known = _schema(first)
    schema.check_version(known, first)
    lacking = "".join(f", NULL::{_type(f.type)} AS {identifier(f.name)}" for f in columns if f.name not in known.names)
    if (pattern := _pattern(first)) is not None:
        return f"SELECT *{lacking} FROM read_parquet({quoted(pattern)})"
    return f"SELECT *{lacking} FROM {_read(output.of_build(name))}"


def _pattern(file: str) -> str | None:
    """A pattern for all files in its folder, which DuckDB lists faster than it opens a thousand names. Hidden files are
    temporary. None if the folder's name cannot be part of a pattern."""
    folder = file.rpartition("/")[0]
    return None if is_url(file) or glob.has_magic(folder) else f"{folder}/[!.]*.parquet"


def _objects(outputs: Sequence[OutputPaths]) -> str:
    """Tags of objects; before schema 1.2 there was no other kind."""
    objects = "SELECT * EXCLUDE (kind) FROM tags WHERE kind = 'object'"
    found = [file for output in outputs if (file := output.first_of_build("tags"))]
    old = any("kind" not in _schema(file).names for file in found)
    return f"{objects} OR kind IS NULL" if old else objects


def _answers(output: OutputPaths) -> str:
    """All answers of compacted files, and those of parts that are not compacted yet."""
    done, parts = output.of_run(ANSWERS), output.parts(ANSWERS)
    named = []
    if done:
        columns, mixed = _columns(done, schema.ANSWERS)
        named.append(f"SELECT {_folder()}, {columns} FROM {_read(done, filename=True, mixed=mixed, whole=True)}")
    if parts:
        columns, mixed = _columns(parts, schema.ANSWERS)
        same = "generation, fingerprint, sha256, prompt_sha256"
        fresh = (
            f"SELECT {_folder()}, {columns} FROM {_read(parts, filename=True, mixed=mixed)} "
            f"QUALIFY row_number() OVER (PARTITION BY {same} ORDER BY filename) = 1"
        )
        if done:
            fresh = f"SELECT * FROM ({fresh}) WHERE ({same}) NOT IN (SELECT ({same}) FROM ({named[0]}))"
        named.append(fresh)
    return " UNION ALL BY NAME ".join(f"({part})" for part in named) if named else _empty(_ANSWERS)


def _run_rejects(output: OutputPaths, answers: str) -> str:
    """Rejects of a run without a build: each once, without those that a later request answered."""
    files = [*output.of_run(REJECTS), *output.parts(REJECTS)]
    if not files:
        return _empty(schema.REJECTS)
    columns, mixed = _columns(files, schema.REJECTS)
    request = "r.generation, r.shard, r.row, r.sha256, r.prompt_sha256"  # a task can ask several times about an image
    return (
        f"SELECT {columns} FROM {_read(files, filename=True, mixed=mixed)} r "
        f"WHERE r.generation IS NULL OR NOT EXISTS "
        f"(SELECT 1 FROM ({answers}) a WHERE a.generation = r.generation AND a.sha256 = r.sha256 "
        f"AND a.prompt_sha256 = coalesce(r.prompt_sha256, a.prompt_sha256)) "
        f"QUALIFY row_number() OVER (PARTITION BY {request} ORDER BY r.filename) = 1"
    )


def _shards(output: OutputPaths) -> str:
    """From the manifest's text, because DuckDB's JSON reader reserves at least 32 MiB for each file."""
    columns = ", ".join(f"shard.counts.{name} AS {name}" for name in _COUNTS)
    select = (
        f"SELECT shard.name AS shard, {columns}, shard.splits.train AS train, shard.splits.val AS val, "
        f"list_sum([f.bytes FOR f IN shard.files]) AS bytes, shard.files AS files"
    )
    text = f"read_text({quoted(output.manifest)})" if output.manifest else "(SELECT ''::VARCHAR AS content WHERE false)"
    return f"{select} FROM (SELECT unnest(from_json(content, {quoted(_SHARDS)}).shards) AS shard FROM {text})"


def _create_runs(connection: duckdb.DuckDBPyConnection, outputs: Sequence[OutputPaths]) -> None:
    """A table, not a view: the files are small, and all of them are read here to find types that hold every value."""
    found: list[tuple[str, str]] = []
    for dataset, output in zip(names(outputs), outputs, strict=True):
        for file in output.metrics():
            try:
                data = read_all(file)
                content = orjson.loads(data)
            except (ShardError, ValueError):  # being written, or truncated by a crash: other runs are still read
                continue
            if isinstance(content, dict) and "run" in content:
                found.append((dataset, data.decode()))
    values = {"datasets": [dataset for dataset, _ in found], "texts": [text for _, text in found]}
    (structure,) = connection.execute(
        "SELECT json_group_structure(text::JSON) FROM (SELECT unnest($texts::VARCHAR[]) AS text)",
        {"texts": values["texts"]},
    ).fetchall()[0]
    own = _distinct(json.loads(structure or "{}"))
    columns = {name: _run_column(name, kind) for name, kind in own.items() if name.lower() != "dataset"}
    known = {name.lower() for name in columns}
    columns |= {f.name: f"NULL::{_type(f.type)}" for f in _RUNS if f.name not in known}
    several = {"dataset": "dataset"} if len(outputs) > 1 else {}
    select = ", ".join(f"{value} AS {identifier(name)}" for name, value in (several | columns).items())
    connection.execute(
        f"CREATE TABLE runs AS SELECT {select} "
        f"FROM (SELECT unnest($datasets::VARCHAR[]) AS dataset, unnest($texts::VARCHAR[]) AS text)",
        values,
    )


def _run_column(name: str, kind: Any) -> str:
    path = quoted("/" + name.replace("~", "~0").replace("/", "~1"))  # a JSON pointer, which takes any name
    if name in _TIMES:
        return f"TRY_CAST(text->>{path} AS TIMESTAMP)"
    kind = _json_type(kind)
    value = f"(text::JSON)->{path}"
    return value if kind == "JSON" else f"from_json({value}, {quoted(json.dumps(kind))})"


def _json_type(kind: Any) -> Any:
    """What `json_structure` found, as `read_json` would type it; JSON where no other type holds all values."""
    if isinstance(kind, list):
        return [_json_type(kind[0])]
    if isinstance(kind, dict):
        return {name: _json_type(child) for name, child in kind.items()} if kind == _distinct(kind) else "JSON"
    return {"UBIGINT": "BIGINT", "NULL": "JSON"}.get(kind, kind)


def _distinct(names: dict[str, Any]) -> dict[str, Any]:
    """Without names that differ from an earlier one only in case, which DuckDB treats as equal."""
    found: dict[str, tuple[str, Any]] = {}
    for name, value in names.items():
        found.setdefault(name.lower(), (name, value))
    return dict(found.values())


def _folder() -> str:
    """The generation and its fingerprint out of `answers/<generation>-<fingerprint>/…`."""
    folder = rf"regexp_extract(filename, '/{ANSWERS}/([a-z][a-z0-9_]*)-([^/]*)/[^/]*(?:/[^/]*/[^/]*)?$', {{}})"
    return f"{folder.format(1)} AS generation, {folder.format(2)} AS fingerprint"


def _read(files: Sequence[str], *, filename: bool = False, mixed: bool = False, whole: bool = False) -> str:
    """A call of `read_parquet`. `whole`: no other files are in the folders of `files`."""
    schema.check_version(_schema(files[0]), files[0])
    patterns = {_pattern(file) for file in files} if whole else {None}
    of = list(files) if None in patterns else sorted(map(str, patterns))
    names = ", ".join(map(quoted, of))
    return f"read_parquet([{names}], union_by_name = {str(mixed).lower()}, filename = {str(filename).lower()})"


def _columns(files: Sequence[str], columns: pa.Schema) -> tuple[str, bool]:
    """The columns to select from a run's files, and whether files differ in columns (several versions wrote them).

    A column that none of them has, because they are of an older version, is null. Only the oldest and the newest file
    (in a store: the first and the last name) decide: union_by_name, which different columns need, opens every file
    before a query begins, which takes seconds for some thousand files.
    """
    ends = [files[0], files[-1]]
    written: dict[str, int] = {}
    for file in files:
        with suppress(OSError):  # compacted in the meantime
            if not is_url(file):
                written[file] = Path(file).stat().st_mtime_ns
    if written:
        ends = [min(written, key=written.__getitem__), max(written, key=written.__getitem__)]
    oldest, newest = map(_schema, ends)
    known = {*oldest.names, *newest.names}
    select = (
        identifier(f.name) if f.name in known else f"NULL::{_type(f.type)} AS {identifier(f.name)}" for f in columns
    )
    return ", ".join(select), not oldest.equals(newest)


def _schema(file: str) -> pa.Schema:
    return footer(file).schema.to_arrow_schema()


def _empty(columns: Iterable[pa.Field]) -> str:
    return f"SELECT {', '.join(f'NULL::{_type(f.type)} AS {identifier(f.name)}' for f in columns)} WHERE false"


@cache
def _type(kind: pa.DataType) -> str:
    """The DuckDB type that an Arrow column has when DuckDB reads it from Parquet."""
    import duckdb

    with duckdb.connect() as connection:
        return str(connection.from_arrow(pa.schema([pa.field("column", kind)]).empty_table()).types[0])
