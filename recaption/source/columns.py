"""The columns of an image in its source, as JSON values of bounded size."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, Final

from recaption.config import Source as SourceConfig
from recaption.types import DROPPED, MAX_VALUE

_SHOWN = 5
_LIKE_A_CAPTION = re.compile(r"caption|text|alt|descri|prompt|label|title|sentence", re.IGNORECASE)

MAX_JSON = 16 << 20  # bytes of a .json or .txt member; larger ones are not read
CAPTION_COLUMNS = ("caption", "txt", "text")  # in this order, if source.raw_caption has its default
TEXTS: Final = frozenset({"txt", "text", "caption", "cls"})
"""Suffixes of text files that hold a column each."""
_MAX_DEPTH = 64
_LINE_END = re.compile(r"\r\n|\r|\n")
_SURROGATES = re.compile("[\ud800-\udfff]")


def clean(value: Any, depth: int = 0) -> Any:
    """The value as strict JSON: NaN and infinities as None, lone surrogates as U+FFFD, dates in ISO form.

    Bytes and values that are nested too deeply become None.
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


def parse_json(data: bytes, twice: set[str] | None = None) -> Any:
    """A cleaned JSON document of unknown origin; a repeated key has its last value. Raises ValueError for others.

    Keys that an object has more than once are added to `twice`, if that is given.
    """

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert twice is not None
        twice.update(map(clean, repeated([name for name, _ in pairs])))
        return dict(pairs)

    try:
        return clean(json.loads(data, object_pairs_hook=None if twice is None else collect))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def repeated(names: Sequence[str]) -> list[str]:
    """Names that occur more than once, in order."""
    return [name for name, count in Counter(names).items() if count > 1]


@dataclass(kw_only=True, slots=True)
class Texts:
    """Text and JSON files that belong to one image: members of a tar sample, or files of the same stem in a folder."""

    columns: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)  # of .json; they take precedence over files of the same name
    dropped: list[str] = field(default_factory=list)  # names of columns that could not be kept

    def add(self, suffix: str, data: bytes | None) -> None:
        """Add a file. `suffix` is in lower case and passes `is_text`. `data` is None for a file above `MAX_JSON`."""
        name = suffix.removesuffix(".json") if suffix != "json" else suffix
        if data is None:
            self.dropped.append(name)
        elif suffix in TEXTS:
            self.columns[name] = data.decode("utf-8-sig", "replace")
        else:
            try:
                value = parse_json(data)
            except ValueError:
                self.dropped.append(name)
                return
            if suffix == "json" and isinstance(value, dict):
                self.fields = value
            else:
                self.columns[name] = value

    def merged(self) -> dict[str, Any]:
        return {**self.columns, **self.fields}

    def lines(self) -> frozenset[str]:
        """Columns that are text files, in which each line is a caption."""
        return frozenset(TEXTS & self.columns.keys() - self.fields.keys())


def is_text(suffix: str) -> bool:
    """Whether a file with this suffix, in lower case, holds columns."""
    return suffix == "json" or suffix.endswith(".json") or suffix in TEXTS


def bounded(columns: dict[str, Any], dropped: list[str] | None = None) -> dict[str, Any]:
    """The columns without values above `MAX_VALUE`. `_dropped` lists the names of the columns that were left out, and
    those in `dropped`."""
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
    """The raw captions of an image, unchanged: the text of a column, or all texts of a list. Blank ones are ignored.

    Columns in `lines` are text files: each line is a caption. If the column has its default name, the first of
    `CAPTION_COLUMNS` with a text is used: img2dataset writes a missing caption as null in `.json` and as an empty
    `.txt`, and Hugging Face's examples use the name `text`.
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


def counted(suffixes: Counter[str]) -> str:
    """`12 .txt, 3 .json, 1 without suffix`."""
    shown = sorted(suffixes.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]
    words = [f"{count:,} {storable(suffix) or 'without suffix'}" for suffix, count in shown]
    rest = suffixes.total() - sum(count for _, count in shown)
    return ", ".join([*words, f"{rest:,} more"] if rest else words)


def storable(name: str) -> str:
    r"""A file's name with bytes that are not UTF-8 as `\xNN`."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def shortened(names: Sequence[str]) -> str:
    names = [storable(name) for name in names]
    more = [f"and {len(names) - _SHOWN:,} more"] if len(names) > _SHOWN else []
    return ", ".join([*names[:_SHOWN], *more])


def unused_captions(columns: Iterable[str], config: SourceConfig) -> list[str]:
    """Columns that may hold captions, if the source has none of the columns from which captions are taken."""
    names = sorted(columns)
    if config.raw_caption != CAPTION_COLUMNS[0] or any(name in CAPTION_COLUMNS for name in names):
        return []
    like = [name for name in names if _LIKE_A_CAPTION.search(name)]
    if not like:
        return []
    return [
        f"columns that may hold captions: {shortened(like)} (raw captions are taken from {', '.join(CAPTION_COLUMNS)}, "
        "or from the column that source.raw_caption names)"
    ]
