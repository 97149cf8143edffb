"""A list of URLs for `recaption download`: files of any format become Parquet files that img2dataset reads.

The list is converted with DuckDB, with a number for each row: img2dataset's own reader fails on a comma in a txt and on
a line break in a csv, guesses types in a csv, and loses rows with values that JSON lacks.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Final

from recaption.errors import UserError

_KIND: Final = re.compile(r"\.(?:(txt|csv|tsv|jsonl|json)(?:\.gz)?|(parquet))$", re.IGNORECASE)
# Names that img2dataset writes itself, or refuses as columns of the list.
_RESERVED: Final = frozenset(
    {"row", "key", "url", "caption", "status", "error_message", "attempts", "width", "height", "original_width"}
    | {"original_height", "exif", "md5", "sha256", "sha512", "image", "jpg", "txt"}
)
_FILE_ROWS: Final = 500_000  # img2dataset loads one input file at a time into memory


def literal(value: object) -> str:
    """A SQL string literal."""
    return "'" + str(value).replace("'", "''") + "'"


def find(urls: str) -> tuple[list[Path], str]:
    """The files of a list and their kind. Raises UserError: no such path, or a kind that is not supported."""
    path = Path(urls).expanduser()
    if not path.exists():
        raise UserError(f"list of URLs {urls!r}: there is no such file or folder")
    found = [
        (file, match[1] or match[2]) for file in sorted(path.glob("*")) or [path] if (match := _KIND.search(file.name))
    ]
    kinds = {kind.lower() for _, kind in found}
    if len(kinds) != 1:
        raise UserError(
            f"list of URLs {urls}: expected a .txt, .csv, .tsv, .jsonl, .json or .parquet file, or a folder of files "
            f"of one of these kinds; .gz is allowed for text. Found: {', '.join(sorted(kinds)) or 'none of these'}"
        )
    return [file for file, _ in found], kinds.pop()


def write(urls: str, folder: Path, url: str, caption: str | None, shard: int) -> None:
    """Write the list to `folder`/00-*.parquet: `row`, `url`, `caption` and the other columns of the list.

    `url` and `caption` are names of columns; of a txt there is only `url`. Each file holds whole shards of `shard` rows
    (the last one may end with a part). Columns whose type JSON lacks become text. A name that img2dataset uses itself
    gets the prefix `input_`. Raises UserError: unreadable list, missing column, no URL.
    """
    import duckdb

    files, kind = find(urls)
    temporary = folder.with_name("list")
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "urls").mkdir(parents=True)
    table = _table(files, kind)
    if kind == "txt":
        url, caption = "url", None
    with duckdb.connect(temporary / "list.duckdb", config={"threads": 1}) as db:  # one thread keeps the order
        try:
            types = {str(row[0]): str(row[1]) for row in db.execute(f"DESCRIBE SELECT * FROM {table}").fetchall()}
            none = ", or an empty name for a list without captions"
            for option, column, more in (("--url-column", url, ""), ("--caption-column", caption, none)):
                if column and column not in types:
                    raise UserError(
                        f"{urls} has no column {column!r}; its columns are: {', '.join(types)}. Name one with "
                        f"{option}{more}. A csv or tsv file needs a header line"
                    )
            where = "WHERE trim(url) <> ''" if kind == "txt" else ""
            columns = f"row_number() OVER () - 1 AS row, {', '.join(_columns(types, url, caption))}"
            ((rows,),) = db.execute(f"CREATE TABLE list AS SELECT {columns} FROM {table} {where}").fetchall()
        except duckdb.Error as error:
            cause = " ".join(str(error).split("\n\n")[0].splitlines()[:3])  # without DuckDB's advice and our SQL
            raise UserError(f"cannot read list of URLs {urls}: {cause}") from error
        if not rows:
            raise UserError(f"list of URLs {urls}: it contains no URL")
        step = max(shard, _FILE_ROWS - _FILE_ROWS % shard)
        for number, first in enumerate(range(0, rows, step)):
            part = f"SELECT * FROM list WHERE row >= {first} AND row < {first + step}"
            db.execute(f"COPY ({part}) TO {literal(temporary / 'urls' / f'00-{number:05d}.parquet')} (FORMAT parquet)")
    (temporary / "urls").rename(folder)
    shutil.rmtree(temporary)


def _table(files: list[Path], kind: str) -> str:
    """The list as a table function of DuckDB."""
    paths = f"[{', '.join(map(literal, files))}]"
    if kind == "parquet":
        return f"read_parquet({paths}, union_by_name=true, hive_partitioning=false)"
    if kind in ("jsonl", "json"):
        return f"read_json({paths}, union_by_name=true, sample_size=-1)"
    if kind == "txt":  # the delimiter occurs in no line, so that a line is a value
        options = "header=false, columns={'url': 'VARCHAR'}, delim='\x01', quote='', escape='', auto_detect=false"
    else:
        delimiter = "\t" if kind == "tsv" else ","
        options = (
            f"header=true, skip=0, all_varchar=true, union_by_name=true, delim='{delimiter}', quote='\"', escape='\"'"
        )
    return f"read_csv({paths}, {options})"


def _columns(types: dict[str, str], url: str, caption: str | None) -> list[str]:
    """SQL for the columns of a list whose columns have these types."""
    made = []
    for column, kind in types.items():
        value = '"' + column.replace('"', '""') + '"'
        new = f'"input_{value[1:]}' if column.lower() in _RESERVED else value
        if column == url:
            value, new = f"coalesce(trim(CAST({value} AS VARCHAR)), '')", "url"
        elif column == caption:
            value, new = f"CAST({value} AS VARCHAR)", "caption"
        elif kind in ("FLOAT", "DOUBLE"):  # NaN and infinities are not JSON
            value = f"CASE WHEN isfinite({value}) THEN {value} END"
        elif kind == "JSON":  # values of several kinds
            value = f"{value} ->> '$'"
        elif kind not in ("BOOLEAN", "INTEGER", "BIGINT"):
            value = f"CAST({value} AS VARCHAR)"
        made.append(f"{value} AS {new}")
    return made
