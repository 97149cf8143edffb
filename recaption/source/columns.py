"""What came along with an image, as JSON values that stay small."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import Any

MAX_VALUE = 64 * 1024  # bytes of one value as JSON; an index row is read for every image, again and again
MAX_JSON = 16 << 20  # bytes of a .json or .txt member that is looked into at all
DROPPED = "_dropped"  # column that names what was left out
CAPTION_COLUMNS = ("caption", "txt", "text")  # in this order, where source.raw_caption has its default
_MAX_DEPTH = 64
_LINE_END = re.compile(r"\r\n|\r|\n")
_SURROGATES = re.compile("[\ud800-\udfff]")


def clean(value: Any, depth: int = 0) -> Any:
    """The value as strict JSON: NaN and infinities as None, lone surrogates as U+FFFD, dates in ISO form.

    Bytes, and what is nested too deeply, become None.
    """
    if isinstance(value, str):
        return value if value.isascii() else _SURROGATES.sub("\ufffd", value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= _MAX_DEPTH or isinstance(value, bytes | bytearray | memoryview):
        return None
    if isinstance(value, Mapping):
        return {clean(str(key)): clean(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return [clean(item, depth + 1) for item in value]
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return clean(str(value))  # Decimal, timedelta, UUID


def parse_json(data: bytes) -> Any:
    """A JSON document of unknown origin, cleaned. Raises ValueError when it is none."""
    try:
        return clean(json.loads(data))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def bounded(columns: dict[str, Any], dropped: list[str] | None = None) -> dict[str, Any]:
    """The columns without values above `MAX_VALUE`; their names, and those in `dropped`, stand in `_dropped`."""
    gone = [*(dropped or []), *(name for name, value in columns.items() if _too_large(value))]
    if not gone:
        return columns
    kept = {name: value for name, value in columns.items() if name not in gone}
    return {**kept, DROPPED: sorted(set(gone))}


def _too_large(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) > MAX_VALUE // 4 and len(value.encode()) > MAX_VALUE
    return isinstance(value, list | dict) and len(json.dumps(value)) > MAX_VALUE


def raw_captions(
    columns: Mapping[str, Any], name: str | None, lines: AbstractSet[str] = frozenset()
) -> tuple[str, ...]:
    """The captions that came along, as they are: a column's text, or all texts of a list. Blank ones are none.

    Columns in `lines` are text files: several lines of one are several captions. Where the column has its default name,
    the first of `CAPTION_COLUMNS` with a text counts: img2dataset writes a caption that it does not have as null in
    `.json` and as an empty `.txt`, and `text` is what Hugging Face's examples call it.
    """
    if name is None:
        return ()
    for column in CAPTION_COLUMNS if name == CAPTION_COLUMNS[0] else (name,):
        value = columns.get(column)
        if isinstance(value, str) and column in lines:
            several = [line for line in _LINE_END.split(value) if line.strip()]
            value = several if len(several) > 1 else value
        # a caption column of digits in JSON or Parquet is text, too
        texts = [_as_text(item) for item in (value if isinstance(value, list) else [value])]
        if found := tuple(text for text in texts if text is not None and text.strip()):
            return found
    return ()


def _as_text(value: Any) -> str | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) else None


def url(columns: Mapping[str, Any]) -> str | None:
    """img2dataset's `url`, or LAION's `URL`."""
    value = columns.get("url") or columns.get("URL")
    return value if isinstance(value, str) else None
