"""Reads CSV files with a header, to check them."""

from __future__ import annotations

import csv
import io
from collections.abc import Generator, Sequence

from recaption.errors import RecaptionError
from recaption.export.base import found_in
from recaption.io import files
from recaption.problems import Problem


def read_rows(file: str, columns: Sequence[str]) -> Generator[Problem, None, list[dict[str, str]]]:
    """The rows, with "" for missing cells. If the file cannot be read or lacks a column: a problem, and no rows."""
    try:
        rows = csv.DictReader(io.StringIO(files.read_all(file).decode(), newline=""), restval="", strict=True)
        lacking = [name for name in columns if name not in (rows.fieldnames or ())]
        if not lacking:
            return list(rows)
        advice = f"Write the columns {', '.join(columns)} (KeyError)"
        yield from found_in(file, [(f"it has no column {', '.join(lacking)}", advice, "missing column")])
    except (csv.Error, UnicodeDecodeError, RecaptionError) as error:
        yield from found_in(file, [(str(error), "Write UTF-8 with cells quoted by RFC 4180", "broken CSV")])
    return []
