"""Read the result of each URL from img2dataset's tables (`<shard>.parquet`), with DuckDB."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from recaption.errors import StoreError
from recaption.source.download.lists import text

# Worth another attempt. `lost`: img2dataset left no record of the row.
TRANSIENT: Final = ("timeout", "connection", "rate_limited", "server_error", "truncated", "lost")
_CHECKS: Final = ("opted_out", "too_large", "timeout", "truncated", "not_an_image", "too_many_pixels")  # of `opener`
# Patterns of urllib's error messages → reason. The first match counts; anything else is `connection`.
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
_CHECKED: Final = f"regexp_extract(message, '^({'|'.join(_CHECKS)}): ', 1)"
_CASES: Final = " ".join(f"WHEN regexp_matches(message, {text(p)}) THEN {text(reason)}" for p, reason in _MESSAGES)
REASON: Final = f"CASE WHEN {_CHECKED} <> '' THEN {_CHECKED} {_CASES} ELSE 'connection' END"  # of a column `message`


def write_failed(out: Path, urls: Path, path: Path) -> None:
    """Write each URL without an image: its columns, `status` (the reason), `error_message`, `attempts`."""
    _query(out, urls, "SELECT * EXCLUDE (row) FROM failed ORDER BY row", path)


def write_transient(out: Path, urls: Path, path: Path) -> int:
    """Write the rows that are worth another attempt, as a list for img2dataset; returns their number."""
    chosen = f"FROM failed WHERE status IN ({', '.join(map(text, TRANSIENT))})"
    ((rows,),) = _query(out, urls, f"SELECT count(*) {chosen}")
    if rows:
        _query(out, urls, f"SELECT * EXCLUDE (status, error_message, attempts) {chosen} ORDER BY row", path)
    return int(rows)


def totals(out: Path, urls: Path, first: int) -> dict[str, Any]:
    """The sums of a DownloadSummary. `first`: shards of the first pass."""
    failed = dict(_query(out, urls, "SELECT status, count(*) FROM failed GROUP BY ALL ORDER BY 2 DESC, 1"))
    sums = f"count(*) FILTER (stored), count(*) FILTER (stored AND last >= {first})"
    ((rows, downloaded, recovered),) = _query(
        out, urls, f"SELECT count(*), {sums} FROM list LEFT JOIN outcome USING (row)"
    )
    return {"urls": rows, "downloaded": downloaded, "recovered": recovered, "failed": failed}


def _query(out: Path, urls: Path, query: str, path: Path | None = None) -> list[tuple[Any, ...]]:
    """The result of a query over `list`, `outcome` (one row per URL) and `failed`; with a path, written there."""
    import duckdb

    shard = r"CAST(regexp_extract(filename, '(\d+)\.parquet$', 1) AS INT)"
    views = f"""
        CREATE VIEW list AS SELECT * FROM read_parquet({text(urls / "00-*.parquet")}, hive_partitioning=false);
        CREATE VIEW outcome AS
            SELECT row, bool_or(status = 'success') AS stored, max(shard) AS last, count(*) AS attempts,
                arg_max({REASON}, shard) AS reason, arg_max(message, shard) AS detail
            FROM (SELECT row, status, coalesce(error_message, '') AS message, {shard} AS shard
                FROM read_parquet({text(out / "[0-9]*.parquet")}, filename=true, hive_partitioning=false))
            GROUP BY row;
        CREATE VIEW failed AS
            SELECT list.*, coalesce(reason, 'lost') AS status, coalesce(detail, '') AS error_message,
                CAST(coalesce(attempts, 0) AS INT) AS attempts
            FROM list LEFT JOIN outcome USING (row) WHERE NOT coalesce(stored, false)"""
    with duckdb.connect(config={"temp_directory": str(urls.with_name("spill"))}) as db:
        try:
            db.execute(views)
            if path is None:
                return db.execute(query).fetchall()
            temporary = path.with_name(f".tmp-{path.name}")
            db.execute(f"COPY ({query}) TO {text(temporary)} (FORMAT parquet)")
        except duckdb.Error as error:
            raise StoreError(
                f"{error}. If a table in {out} is damaged, delete the _stats.json of its shard and run again"
            ) from error
    temporary.replace(path)
    return []
