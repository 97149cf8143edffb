"""Read a list of URLs with DuckDB and write it as Parquet files for img2dataset, with a row number for each URL."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from recaption.errors import UserError

if TYPE_CHECKING:
    from recaption.source.download.job import Settings

_KIND: Final = re.compile(r"\.(txt|csv|tsv|jsonl|json)(?:\.gz)?$|\.(parquet)$", re.IGNORECASE)
# Names that img2dataset writes itself, or refuses as columns of the list.
RESERVED: Final = frozenset(
    {"row", "key", "url", "caption", "status", "error_message", "attempts", "width", "height", "original_width"}
    | {"original_height", "exif", "md5", "sha256", "sha512", "image", "jpg", "txt"}
)
_FILE_ROWS: Final = 500_000  # img2dataset loads one input file at a time into memory
_PLAIN: Final = ("BOOLEAN", "INTEGER", "BIGINT", "VARCHAR")  # img2dataset drops samples with values JSON lacks


def text(value: object) -> str:
    """A SQL string literal."""
    return "'" + str(value).replace("'", "''") + "'"


def name(column: str) -> str:
    """A SQL identifier."""
    return '"' + column.replace('"', '""') + '"'


def find(urls: str) -> tuple[list[Path], str]:
    """The files of a list and their kind. Raises UserError: no such path, or a kind that is not supported."""
    path = Path(urls).expanduser()
    if not path.exists():
        raise UserError(f"list of URLs {urls!r}: there is no such file or folder")
    files = sorted(file for file in path.iterdir() if _kind(file)) if path.is_dir() else [path]
    kinds = {_kind(file) for file in files}
    if len(kinds) != 1 or "" in kinds:
        raise UserError(
            f"list of URLs {urls}: expected a file, or a folder of files of one kind, that ends in "
            ".txt, .csv, .tsv, .jsonl, .json or .parquet; .gz is allowed for text. "
            f"Found: {', '.join(sorted(kinds - {''})) or 'none of these'}"
        )
    return files, kinds.pop()


def write(urls: str, folder: Path, settings: Settings) -> dict[str, str]:
    """Write the list to `folder`/00-*.parquet: `row`, `url`, `caption` and the other columns of the list.

    Each file holds whole shards (the last one may end with a part). Columns whose type JSON lacks become text.
    Returns the columns that were renamed because img2dataset uses their name. Raises UserError: unreadable list,
    missing column, no URL.
    """
    import duckdb

    files, kind = find(urls)
    temporary = folder.with_name(f"{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    table, listed = _reader(files, kind), temporary / "list"
    with duckdb.connect(config={"threads": 1, "temp_directory": str(temporary / "spill")}) as db:  # keeps the order
        try:
            types = {str(row[0]): str(row[1]) for row in db.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()}
            url, caption = ("url", None) if kind == "txt" else (settings.url_column, settings.caption_column or None)
            for option, column in (("--url-column", url), ("--caption-column", caption)):
                if column is not None and column not in types:
                    raise UserError(
                        f"{urls} has no column {column!r}; its columns are: {', '.join(types)}. Name one with "
                        f"{option}, or an empty name for a list without captions. A csv or tsv file needs a header line"
                    )
            columns, renamed = _columns(types, url, caption)
            where = "WHERE trim(url) <> ''" if kind == "txt" else ""
            query = f"SELECT row_number() OVER () - 1 AS row, {', '.join(columns)} FROM {table} {where}"
            db.execute(f"COPY ({query}) TO {text(listed)} (FORMAT parquet)")
        except duckdb.Error as error:
            cause = " ".join(str(error).split("\n\n")[0].splitlines()[:3])  # without DuckDB's advice and our SQL
            raise UserError(f"cannot read list of URLs {urls}: {cause}") from error
        size, table = settings.samples_per_shard, f"read_parquet({text(listed)}, hive_partitioning=false)"
        ((rows,),) = db.execute(f"SELECT count(*) FROM {table}").fetchall()
        if not rows:
            raise UserError(f"list of URLs {urls}: it contains no URL")
        step = max(size, _FILE_ROWS - _FILE_ROWS % size)
        for number, first in enumerate(range(0, rows, step)):
            part = f"SELECT * FROM {table} WHERE row >= {first} AND row < {first + step}"
            db.execute(f"COPY ({part}) TO {text(temporary / f'00-{number:05d}.parquet')} (FORMAT parquet)")
    listed.unlink()
    shutil.rmtree(temporary / "spill", ignore_errors=True)
    temporary.rename(folder)
    return renamed


def _kind(path: Path) -> str:
    match = _KIND.search(path.name)
    return (match[1] or match[2]).lower() if match else ""


def _reader(files: list[Path], kind: str) -> str:
    """The list as a table function of DuckDB."""
    paths = f"[{', '.join(map(text, files))}]"
    if kind == "parquet":
        return f"read_parquet({paths}, union_by_name=true, hive_partitioning=false)"
    if kind in ("jsonl", "json"):
        return f"read_json({paths}, union_by_name=true, sample_size=-1)"
    if kind == "txt":  # no line has a NUL, so that a line is a value
        options = "header=false, columns={'url': 'VARCHAR'}, delim='\x01', quote='', escape='', auto_detect=false"
        return f"read_csv({paths}, {options})"
    delimiter = "\t" if kind == "tsv" else ","
    options = f"header=true, skip=0, all_varchar=true, delim='{delimiter}', quote='\"', escape='\"', union_by_name=true"
    return f"read_csv({paths}, {options})"


def _columns(types: dict[str, str], url: str, caption: str | None) -> tuple[list[str], dict[str, str]]:
    """SQL for the columns, and old and new names of those that were renamed."""
    columns = [f"coalesce(trim(CAST({name(url)} AS VARCHAR)), '') AS url"]
    columns += [f"CAST({name(caption)} AS VARCHAR) AS caption"] if caption else []
    renamed = {}
    for column, kind in types.items():
        if column in (url, caption):
            continue
        new = f"input_{column}" if column.lower() in RESERVED else column
        if new != column:
            renamed[column] = new
        value = name(column)
        if kind in ("FLOAT", "DOUBLE"):  # NaN and infinities are not JSON
            value = f"CASE WHEN isfinite({value}) THEN {value} END"
        elif kind == "JSON":  # values of several kinds
            value = f"{value} ->> '$'"
        elif kind not in _PLAIN:
            value = f"CAST({value} AS VARCHAR)"
        columns.append(f"{value} AS {name(new)}")
    return columns, renamed
