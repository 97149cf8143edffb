"""Read the result of each URL from img2dataset's tables (`<shard>.parquet`), with DuckDB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recaption.errors import ShardError
from recaption.source.download.lists import literals, text

# Worth another attempt. `lost`: img2dataset left no record of the row.
TRANSIENT: Final = ("timeout", "connection", "rate_limited", "server_error", "truncated", "lost")
# Pattern of an error message of img2dataset (urllib's, or a check's of `opener`) → reason. The first match counts.
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
    (r"\[Errno (-2|-5)\]|Name or service not known", "unknown_host"),
    (r"unknown url type|no host given|nonnumeric port|URL can't contain|codec can't|Invalid|label (empty|too)", "bad_url"),
)  # fmt: skip
_CHECKS: Final = ("opted_out", "too_large", "timeout", "truncated", "not_an_image", "too_many_pixels")


@dataclass(frozen=True, kw_only=True, slots=True)
class Totals:
    """urls = stored + sum(failed.values())."""

    urls: int
    stored: int
    recovered: int  # of the stored: those of a second pass
    failed: dict[str, int]  # reason → URLs, the most frequent first


class Outcomes:
    """The last result of each row of a list. `out`: img2dataset's folder; `work`: the list's files in `urls/`.

    Raises ShardError for a table that a crash left broken; its shard is downloaded again by the next run.
    """

    def __init__(self, out: Path, work: Path, first_pass: int) -> None:
        import duckdb

        self._work = work
        tables = sorted(out.glob("[0-9]*.parquet"))
        for table in tables:
            try:
                pq.read_metadata(table)
            except (OSError, pa.ArrowInvalid) as error:
                (out / f"{table.stem}_stats.json").unlink(missing_ok=True)
                raise ShardError(f"{table} cannot be read ({error}). Run the same command again") from error
        self._db = duckdb.connect(config={"threads": 1, "temp_directory": str(work / "spill")})
        cases = "".join(f" WHEN regexp_matches(message, {text(p)}) THEN {text(reason)}" for p, reason in _MESSAGES)
        checked = f"regexp_extract(message, '^({'|'.join(_CHECKS)}): ', 1)"
        reason = f"""CASE WHEN {checked} <> '' THEN {checked} WHEN status = 'failed_to_resize' THEN 'not_an_image'
            {cases} ELSE 'connection' END"""
        shard = r"CAST(regexp_extract(filename, '(\d+)\.parquet$', 1) AS INT)"
        self._db.execute(f"""
            CREATE TABLE outcome AS
            SELECT row, bool_or(status = 'success') AS stored, max(shard) >= {first_pass} AS late, count(*) AS attempts,
                arg_max({reason}, shard) AS reason, arg_max(message, shard) AS detail
            FROM (SELECT row, status, coalesce(error_message, '') AS message, {shard} AS shard
                FROM read_parquet({literals(tables)}, filename=true))
            GROUP BY row""")
        self._db.execute(f"""
            CREATE VIEW failed AS
            SELECT list.*, coalesce(reason, 'lost') AS status, coalesce(detail, '') AS error_message,
                CAST(coalesce(attempts, 0) AS INT) AS attempts
            FROM read_parquet({literals(sorted((work / "urls").glob("00-*.parquet")))}) AS list
            LEFT JOIN outcome USING (row) WHERE NOT coalesce(stored, false)""")

    def write_failed(self, path: Path) -> None:
        """Every URL without an image: its columns, `status` (the reason), `error_message`, `attempts`."""
        self._copy("SELECT * EXCLUDE (row) FROM failed ORDER BY row", path)

    def write_transient(self, path: Path) -> int:
        """The rows that are worth another attempt, as a list for img2dataset; returns their number."""
        columns = "* EXCLUDE (status, error_message, attempts)"
        chosen = f"FROM failed WHERE status IN ({', '.join(map(text, TRANSIENT))})"
        rows = int(self._rows(f"SELECT count(*) {chosen}")[0][0])
        if rows:
            self._copy(f"SELECT {columns} {chosen} ORDER BY row", path)
        return rows

    def totals(self) -> Totals:
        ((stored, recovered),) = self._rows("SELECT count(*), count(*) FILTER (late) FROM outcome WHERE stored")
        failed = dict(self._rows("SELECT status, count(*) FROM failed GROUP BY ALL ORDER BY 2 DESC, 1"))
        ((urls,),) = self._rows(f"SELECT count(*) FROM read_parquet({text(self._work / 'urls' / '00-*.parquet')})")
        return Totals(urls=urls, stored=stored, recovered=recovered, failed=failed)

    def _rows(self, query: str) -> Sequence[tuple[Any, ...]]:
        return self._db.execute(query).fetchall()

    def _copy(self, query: str, path: Path) -> None:
        temporary = path.with_name(f".tmp-{path.name}")
        self._db.execute(f"COPY ({query}) TO {text(temporary)} (FORMAT parquet)")
        temporary.replace(path)
