"""The result of each URL, read with DuckDB from the tables that img2dataset writes (`<shard>.parquet`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from recaption.errors import StoreError
from recaption.source.urllist import literal

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
_CHECKED: Final = f"regexp_extract(message, '^({_CHECKS}): ', 1)"
_CASES: Final = " ".join(
    f"WHEN regexp_matches(message, {literal(p)}) THEN {literal(reason)}" for p, reason in _MESSAGES
)
REASON: Final = f"CASE WHEN {_CHECKED} <> '' THEN {_CHECKED} {_CASES} ELSE 'connection' END"  # of a column `message`


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
            FROM read_parquet({literal(out / "[0-9]*.parquet")}, filename=true, hive_partitioning=false))
        GROUP BY row"""
    outcomes = f"""
        SELECT list.*, coalesce(stored, false) AS stored, last, coalesce(reason, 'lost') AS status,
            coalesce(detail, '') AS error_message, CAST(coalesce(attempts, 0) AS INT) AS attempts
        FROM read_parquet({literal(urls / "00-*.parquet")}, hive_partitioning=false) AS list
        LEFT JOIN ({results}) USING (row)"""
    failed = "SELECT * EXCLUDE (stored, last) FROM outcomes WHERE NOT stored ORDER BY row"
    recovered = f"count(*) FILTER (stored AND last >= {first_shards})"
    with duckdb.connect(config={"temp_directory": str(urls.with_name("spill"))}) as db:
        try:
            db.execute(f"CREATE VIEW outcomes AS {outcomes}")
            db.execute(f"COPY ({failed}) TO {literal(out / '.tmp-failed.parquet')} (FORMAT parquet)")
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
    failed = f"read_parquet({literal(out / 'failed.parquet')}, hive_partitioning=false)"
    chosen = f"SELECT {columns} FROM {failed} WHERE status IN {_TRANSIENT} ORDER BY row"
    with duckdb.connect() as db:
        ((rows,),) = db.execute(f"SELECT count(*) FROM ({chosen})").fetchall()
        if rows:
            temporary = path.with_name(".tmp-second.parquet")
            db.execute(f"COPY ({chosen}) TO {literal(temporary)} (FORMAT parquet)")
            temporary.replace(path)
    return int(rows)
