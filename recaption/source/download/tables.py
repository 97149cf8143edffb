"""What img2dataset reads and what it leaves, as Parquet files: the list of URLs, and the result of each URL.

The list is converted with DuckDB, with a number for each row: img2dataset's own reader fails on a comma in a txt and on
a line break in a csv, guesses types in a csv, and loses rows with values that JSON lacks.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any, Final

from recaption.errors import StoreError, UserError

_KIND: Final = re.compile(r"\.(?:(txt|csv|tsv|jsonl|json)(?:\.gz)?|(parquet))$", re.IGNORECASE)
# Names that img2dataset writes itself, or refuses as columns of the list.
_RESERVED: Final = frozenset(
    {"row", "key", "url", "caption", "status", "error_message", "attempts", "width", "height", "original_width"}
    | {"original_height", "exif", "md5", "sha256", "sha512", "image", "jpg", "txt"}
)
_FILE_ROWS: Final = 500_000  # img2dataset loads one input file at a time into memory

# Worth another attempt. `lost`: img2dataset left no record of the row.
_TRANSIENT: Final = ("timeout", "connection", "rate_limited", "server_error", "truncated", "lost")
_CHECKS: Final = "opted_out|too_large|timeout|truncated|not_an_image|too_many_pixels"  # of `opener`
# Patterns of urllib's error messages -> reason. The first match counts; anything else is `connection`.
_MESSAGES: Final = (
    (r"^HTTP Error 30\d", "redirect"),  # a loop, too many, or to something other than http(s)
    (r"^HTTP Error (404|410)\b", "not_found"),
    (r"^HTTP Error (401|402|403|407|451)\b", "forbidden"),
    (r"^HTTP Error 429\b", "rate_limited"),
    (r"^HTTP Error (408|425|5\d\d)\b", "server_error"),
    (r"^HTTP Error", "http_error"),
    (r"X-Robots-Tag directive", "opted_out"),
    (r"timed out", "timeout"),
    (r"IncompleteRead", "truncated"),
    (r"CERTIFICATE_VERIFY_FAILED", "tls"),
    (r"\[Errno (-2|-5)\]", "unknown_host"),
    (r"unknown url type|no host given|nonnumeric port|URL can't contain|Invalid|label (empty|too)", "bad_url"),
)


def _text(value: object) -> str:
    """A SQL string literal."""
    return "'" + str(value).replace("'", "''") + "'"


_CHECKED: Final = f"regexp_extract(message, '^({_CHECKS}): ', 1)"
_CASES: Final = " ".join(f"WHEN regexp_matches(message, {_text(p)}) THEN {_text(reason)}" for p, reason in _MESSAGES)
REASON: Final = f"CASE WHEN {_CHECKED} <> '' THEN {_CHECKED} {_CASES} ELSE 'connection' END"  # of a column `message`


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
            f"list of URLs {urls}: expected a file, or a folder of files of one kind, that ends in .txt, .csv, .tsv, "
            f".jsonl, .json or .parquet; .gz is allowed for text. Found: {', '.join(sorted(kinds)) or 'none of these'}"
        )
    return [file for file, _ in found], kinds.pop()


def write_list(urls: str, folder: Path, url: str, caption: str | None, shard: int) -> None:
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
            for option, column in (("--url-column", url), ("--caption-column", caption)):
                if column and column not in types:
                    raise UserError(
                        f"{urls} has no column {column!r}; its columns are: {', '.join(types)}. Name one with "
                        f"{option}, or an empty name for a list without captions. A csv or tsv file needs a header line"
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
            db.execute(f"COPY ({part}) TO {_text(temporary / 'urls' / f'00-{number:05d}.parquet')} (FORMAT parquet)")
    (temporary / "urls").rename(folder)
    shutil.rmtree(temporary)


def _table(files: list[Path], kind: str) -> str:
    """The list as a table function of DuckDB."""
    paths = f"[{', '.join(map(_text, files))}]"
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


def write_failed(out: Path, urls: Path, first_shards: int) -> dict[str, Any]:
    """Write failed.parquet, in the order of the list: each URL without an image, with the columns of the list.

    `status` is the reason, of the last attempt. Returns the sums of a DownloadSummary; `first_shards` is the number of
    shards of the first pass. Raises StoreError for a damaged table.
    """
    import duckdb

    shard = r"CAST(regexp_extract(filename, '(\d+)\.parquet$', 1) AS INT)"
    results = f"""
        SELECT row, bool_or(status = 'success') AS stored, max(shard) AS last, count(*) AS attempts,
            arg_max({REASON}, shard) AS reason, arg_max(message, shard) AS detail
        FROM (SELECT row, status, coalesce(error_message, '') AS message, {shard} AS shard
            FROM read_parquet({_text(out / "[0-9]*.parquet")}, filename=true, hive_partitioning=false))
        GROUP BY row"""
    outcomes = f"""
        SELECT list.*, coalesce(stored, false) AS stored, last, coalesce(reason, 'lost') AS status,
            coalesce(detail, '') AS error_message, CAST(coalesce(attempts, 0) AS INT) AS attempts
        FROM read_parquet({_text(urls / "00-*.parquet")}, hive_partitioning=false) AS list
        LEFT JOIN ({results}) USING (row)"""
    failed = "SELECT * EXCLUDE (stored, last) FROM outcomes WHERE NOT stored ORDER BY row"
    recovered = f"count(*) FILTER (stored AND last >= {first_shards})"
    with duckdb.connect(config={"temp_directory": str(urls.with_name("spill"))}) as db:
        try:
            db.execute(f"CREATE VIEW outcomes AS {outcomes}")
            db.execute(f"COPY ({failed}) TO {_text(out / '.tmp-failed.parquet')} (FORMAT parquet)")
            counts = db.execute(
                "SELECT status, count(*) FROM outcomes WHERE NOT stored GROUP BY ALL ORDER BY 2 DESC, 1"
            )
            reasons = dict(counts.fetchall())
            ((rows, again),) = db.execute(f"SELECT count(*), {recovered} FROM outcomes").fetchall()
        except duckdb.Error as error:
            advice = f"If a table in {out} is damaged, delete the _stats.json of its shard and run again"
            raise StoreError(f"{error}. {advice}") from error
    (out / ".tmp-failed.parquet").replace(out / "failed.parquet")
    return {"urls": rows, "downloaded": rows - sum(reasons.values()), "recovered": again, "failed": reasons}


def write_second_list(out: Path, path: Path) -> int:
    """Write the rows of failed.parquet that are worth another attempt, as a list; returns their number."""
    import duckdb

    columns = "* EXCLUDE (status, error_message, attempts)"
    failed = f"read_parquet({_text(out / 'failed.parquet')}, hive_partitioning=false)"
    chosen = f"SELECT {columns} FROM {failed} WHERE status IN {_TRANSIENT} ORDER BY row"
    with duckdb.connect() as db:
        ((rows,),) = db.execute(f"SELECT count(*) FROM ({chosen})").fetchall()
        if rows:
            temporary = path.with_name(".tmp-second.parquet")
            db.execute(f"COPY ({chosen}) TO {_text(temporary)} (FORMAT parquet)")
            temporary.replace(path)
    return int(rows)
