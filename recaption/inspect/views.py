"""The SQL of the views. `schemas/views.sql` is the same for plain DuckDB; a test keeps the columns equal.

Files of a run in progress are named one by one: not all of them are tables yet.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recaption import schema
from recaption.errors import DatasetError
from recaption.inspect.layout import Layout, names
from recaption.inspect.remote import AnyPath

VIEWS = ("images", "captions", "sub_captions", "objects", "tags", "rejects", "shards", "answers", "runs")
"""What a user is told of; `records` is another name for `images`."""


_ANSWERS = pa.schema([pa.field("generation", pa.string()), pa.field("fingerprint", pa.string()), *schema.ANSWERS])
_RUNS = pa.schema(
    [
        *(pa.field(name, pa.string()) for name in ("v", "run", "command")),
        *(pa.field(name, pa.timestamp("us")) for name in ("started", "finished")),
        pa.field("exit_code", pa.int64()),
    ]
)
_COUNTS = ("images", "ok", "partial", "reject", "excluded", "captions", "sub_captions", "tags", "words")
_FILE = 'STRUCT(path VARCHAR, "table" VARCHAR, split VARCHAR, "rows" BIGINT, bytes BIGINT, sha256 VARCHAR)'
_SHARD = (
    f"STRUCT(name VARCHAR, files {_FILE}[], counts STRUCT({', '.join(f'{name} BIGINT' for name in _COUNTS)}), "
    f"splits STRUCT(train BIGINT, val BIGINT))"
)


def statements(layouts: Sequence[Layout]) -> list[str]:
    """One CREATE VIEW per view. A table that has no files yet becomes an empty view with the columns it will have.

    Over several outputs every view has a column `dataset`, the output's name, and the columns that any of them has.
    Raises DatasetError when a table was written by a newer major version, or is not ours.
    """
    parts = [_bodies(layout) for layout in layouts]
    bodies = parts[0] if len(parts) == 1 else _united(names(layouts), parts)
    bodies |= {"records": "SELECT * FROM images", "objects": _objects(layouts), "runs": _runs(layouts)}
    return [f'CREATE VIEW "{name}" AS {body}' for name, body in bodies.items()]


def _bodies(layout: Layout) -> dict[str, str]:
    answers = _answers(layout)
    bodies = {
        "images": _build_table(layout, "images", schema.IMAGES),
        "captions": _build_table(layout, "captions", schema.CAPTIONS),
        "sub_captions": _build_table(layout, "sub_captions", schema.sub_captions()),
        "tags": _build_table(layout, "tags", schema.TAGS),
        "shards": _shards(layout),
        "answers": answers,
        "rejects": _build_table(layout, "rejects", schema.REJECTS) if layout.build else _run_rejects(layout, answers),
    }
    return bodies | {name: _build_table(layout, name, schema.own(name, pa.schema([]))) for name in layout.own_tables()}


def _united(datasets: Sequence[str], parts: Sequence[dict[str, str]]) -> dict[str, str]:
    """Each is bound by one file of its own; `union_by_name` over all files would open every one of them."""
    views = list(dict.fromkeys(name for bodies in parts for name in bodies))
    return {
        view: " UNION ALL BY NAME ".join(
            f"(SELECT {_quoted(dataset)} AS dataset, * FROM ({bodies[view]}))"
            for dataset, bodies in zip(datasets, parts, strict=True)
            if view in bodies
        )
        for view in views
    }


def _build_table(layout: Layout, name: str, columns: pa.Schema) -> str:
    """The table's files, with the columns that this version has and an older one had not as null."""
    first = layout.first_of_build(name)
    if first is None:
        return _empty(columns)
    known = _schema(first)
    schema.check_version(known, str(first))
    lacking = "".join(f", NULL::{_type(f.type)} AS {_name(f.name)}" for f in columns if f.name not in known.names)
    if (pattern := _pattern(first)) is not None:
        return f"SELECT *{lacking} FROM read_parquet({_quoted(pattern)})"
    return f"SELECT *{lacking} FROM {_read(layout.of_build(name))}"


def _pattern(file: AnyPath) -> str | None:
    """Of all files in its folder: DuckDB lists a folder faster than it looks at a thousand names. What is hidden in it
    is temporary. None where a folder is no pattern."""
    folder = str(file.parent)
    return f"{folder}/[!.]*.parquet" if isinstance(file, Path) and not glob.has_magic(folder) else None


def _objects(layouts: Sequence[Layout]) -> str:
    """Tags that say what is there; before schema 1.2 there were no others."""
    objects = "SELECT * EXCLUDE (kind) FROM tags WHERE kind = 'object'"
    found = [file for layout in layouts if (file := layout.first_of_build("tags"))]
    old = any("kind" not in _schema(file).names for file in found)
    return f"{objects} OR kind IS NULL" if old else objects


def _answers(layout: Layout) -> str:
    """Finished files as they are, and of the parts what no finished file has (one may just be made of them)."""
    done, parts = layout.of_run("answers"), layout.parts("answers")

    def select(files: Sequence[AnyPath], whole: bool) -> str:
        read = _read(files, filename=True, mixed=_mixed(files), whole=whole)
        return f"SELECT {_folder()}, {_columns(files, schema.ANSWERS)} FROM {read}"

    named = [select(done, True)] if done else []
    if parts:
        same = "generation, fingerprint, sha256, prompt_sha256"
        fresh = f"{select(parts, False)} QUALIFY row_number() OVER (PARTITION BY {same} ORDER BY filename) = 1"
        if done:
            fresh = f"SELECT * FROM ({fresh}) WHERE ({same}) NOT IN (SELECT ({same}) FROM ({named[0]}))"
        named.append(fresh)
    return " UNION ALL BY NAME ".join(f"({part})" for part in named) if named else _empty(_ANSWERS)


def _run_rejects(layout: Layout, answers: str) -> str:
    """Rejects before there is a build: each once, and not those that were asked again and answered."""
    files = [*layout.of_run("rejects"), *layout.parts("rejects")]
    if not files:
        return _empty(schema.REJECTS)
    return (
        f"SELECT {_columns(files, schema.REJECTS)} FROM {_read(files, filename=True, mixed=_mixed(files))} r "
        f"WHERE r.generation IS NULL OR NOT EXISTS "
        f"(SELECT 1 FROM ({answers}) a WHERE a.generation = r.generation AND a.sha256 = r.sha256) "
        f"QUALIFY row_number() OVER (PARTITION BY r.generation, r.shard, r.row, r.sha256 ORDER BY r.filename) = 1"
    )


def _shards(layout: Layout) -> str:
    columns = ", ".join(f"shard.counts.{name} AS {name}" for name in _COUNTS)
    select = (
        f"SELECT shard.name AS shard, {columns}, shard.splits.train AS train, shard.splits.val AS val, "
        f"list_sum([f.bytes FOR f IN shard.files]) AS bytes, shard.files AS files"
    )
    if layout.build is None:
        return f"{select} FROM (SELECT NULL::{_SHARD} AS shard) WHERE false"
    manifest = _quoted(str(layout.manifest))
    return (
        f"{select} FROM (SELECT unnest(shards) AS shard FROM read_json({manifest}, "
        f"maximum_object_size = 1073741824, columns = {{'shards': {_quoted(_SHARD + '[]')}}}))"
    )


def _runs(layouts: Sequence[Layout]) -> str:
    files: list[tuple[str, AnyPath]] = []
    found: set[str] = set()
    for dataset, layout in zip(names(layouts), layouts, strict=True):
        for file in layout.metrics():
            try:
                content = json.loads(file.read_bytes())
            except (OSError, ValueError):  # being written, or cut off when the machine died: other runs still count
                continue
            if isinstance(content, dict) and "run" in content:
                files.append((dataset, file))
                found |= content.keys()
    several = len(layouts) > 1
    if not files:
        return _empty([*([pa.field("dataset", pa.string())] if several else []), *_RUNS])
    times = [f"TRY_CAST({name} AS TIMESTAMP) AS {name}" for name in ("started", "finished") if name in found]
    typed = f" REPLACE ({', '.join(times)})" if times else ""
    lacking = "".join(f", NULL::{_type(f.type)} AS {f.name}" for f in _RUNS if f.name not in found)
    paths = ", ".join(_quoted(str(file)) for _, file in files)
    # One reader for all outputs: their columns are whatever a version wrote, and it alone finds types that hold all.
    read = f"read_json([{paths}], format = 'auto', union_by_name = true, filename = {str(several).lower()})"
    if not several:
        return f"SELECT *{typed}{lacking} FROM {read}"
    whose = " ".join(f"WHEN {_quoted(str(file))} THEN {_quoted(dataset)}" for dataset, file in files)
    return f"SELECT CASE filename {whose} END AS dataset, * EXCLUDE (filename){typed}{lacking} FROM {read}"


def _folder() -> str:
    """The generation and its fingerprint out of `answers/<generation>-<fingerprint>/…`."""
    folder = r"regexp_extract(filename, '/answers/([a-z][a-z0-9_]*)-([^/]*)/[^/]*(?:/[^/]*/[^/]*)?$', {})"
    return f"{folder.format(1)} AS generation, {folder.format(2)} AS fingerprint"


def _read(files: Sequence[AnyPath], *, filename: bool = False, mixed: bool = False, whole: bool = False) -> str:
    """`whole`: the files are all that are in their folders."""
    schema.check_version(_schema(files[0]), str(files[0]))
    patterns = {_pattern(file) for file in files} if whole else {None}
    of = [str(file) for file in files] if None in patterns else sorted(map(str, patterns))
    names = ", ".join(map(_quoted, of))
    return f"read_parquet([{names}], union_by_name = {str(mixed).lower()}, filename = {str(filename).lower()})"


def _mixed(files: Sequence[AnyPath]) -> bool:
    """Whether the files of a run have different columns, as they do once another version has gone on with it.

    union_by_name, which is needed then, opens every file before a query begins: seconds for some thousand files.
    """
    oldest, newest = _ends(files)
    return not oldest.equals(newest)


def _ends(files: Sequence[AnyPath]) -> tuple[pa.Schema, pa.Schema]:
    """Schemas of the oldest and the newest file (in a store: of the first and the last name)."""
    ends = [files[0], files[-1]]
    written: dict[AnyPath, int] = {}
    for file in files:
        with suppress(OSError):  # put together with others in the meantime
            if isinstance(file, Path):
                written[file] = file.stat().st_mtime_ns
    if written:
        ends = [min(written, key=written.__getitem__), max(written, key=written.__getitem__)]
    oldest, newest = map(_schema, ends)
    return oldest, newest


def _columns(files: Sequence[AnyPath], table: pa.Schema) -> str:
    """The columns of `table`; null where none of the files has one, as files of an older version."""
    known = {name for one in _ends(files) for name in one.names}
    return ", ".join(f.name if f.name in known else f"NULL::{_type(f.type)} AS {f.name}" for f in table)


def _schema(file: AnyPath) -> pa.Schema:
    try:
        with file.open("rb") as opened:
            return pq.read_schema(opened)
    except (pa.ArrowInvalid, OSError) as error:
        raise DatasetError(f"{file} cannot be read as Parquet: {error}") from error


def _empty(columns: Iterable[pa.Field]) -> str:
    return f"SELECT {', '.join(f'NULL::{_type(f.type)} AS {_name(f.name)}' for f in columns)} WHERE false"


def _type(kind: pa.DataType) -> str:
    """The DuckDB type that an Arrow column has when DuckDB reads it from Parquet."""
    if pa.types.is_list(kind):
        return f"{_type(kind.value_type)}[]"
    if pa.types.is_struct(kind):
        return f"STRUCT({', '.join(f'{_name(f.name)} {_type(f.type)}' for f in kind)})"
    names = {
        pa.string(): "VARCHAR",
        pa.int32(): "INTEGER",
        pa.int64(): "BIGINT",
        pa.float64(): "DOUBLE",
        pa.bool_(): "BOOLEAN",
        pa.timestamp("us"): "TIMESTAMP",
    }
    if kind not in names:
        raise DatasetError(f"no DuckDB type is known for Arrow's {kind}")
    return names[kind]


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
