"""The list of images that must not be used: `source.exclude`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, Final

import pyarrow as pa

from recaption.errors import ShardError, SourceError
from recaption.io.files import open_stream
from recaption.tablefile import read_table

_COLUMN: Final = "sha256"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_LISTS: Final = (".txt", ".sha256")


def read_excluded(path: str) -> frozenset[str]:
    """The sha256 in a Parquet file's column `sha256`, or in a text file, in lower-case hex.

    Hex in any case, as text or binary, or 32 bytes; white space around it, nulls and blank values are ignored.
    A line of a text file (.txt, .sha256) begins with the hash, as `sha256sum` writes it. Raises SourceError.
    """
    found = set()
    for where, value in _values(path):
        if isinstance(value, bytes) and len(value) == 32:
            found.add(value.hex())
            continue
        text = value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
        text = text.strip().lower()
        if not text:
            continue
        if not _SHA256.fullmatch(text):
            raise SourceError(
                f"source.exclude {path!r}, {where}: {value!r} is not a sha256; expected 64 hex digits or 32 bytes"
            )
        found.add(text)
    return frozenset(found)


def _values(path: str) -> Iterator[tuple[str, Any]]:
    try:
        with open_stream(path, sequential=False) as file:
            if PurePosixPath(path).suffix.lower() in _LISTS:
                for number, line in enumerate(file.read().decode("utf-8-sig").splitlines(), 1):
                    yield f"line {number}", next(iter(line.split()), "").removeprefix("\\")
                return
            column = read_table(pa.PythonFile(file, mode="r"), columns=[_COLUMN])[_COLUMN]
    except (ShardError, OSError, KeyError, ValueError) as error:
        raise SourceError(
            f"source.exclude {path!r} cannot be read: {error}. Expected a Parquet file with a column {_COLUMN}, or a "
            "text file with a hash per line"
        ) from error
    yield from ((f"row {row}", value) for row, value in enumerate(column.to_pylist()) if value is not None)
