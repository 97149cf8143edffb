"""Files with one JSON list of samples, the format of LLaVA and FG-CLIP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from recaption.errors import RecaptionError
from recaption.export.base import named
from recaption.io import files
from recaption.io.outfile import outfile
from recaption.io.store import Store
from recaption.problems import Problem


def write_list(store: Store, name: str, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write one row per line. Returns the number of rows."""
    written = 0
    with outfile(store, name) as sink:
        sink.write(b"[")
        for row in rows:
            sink.write((b",\n" if written else b"\n") + orjson.dumps(row))
            written += 1
        sink.write(b"\n]\n")
    return written


def read_lists(path: str, suffix: str | tuple[str, ...], advice: str) -> Iterator[tuple[str, list[Any] | Problem]]:
    """The files at `path`, each with its list, or with a problem with `advice` if it has no list."""
    for file in named(path, suffix):
        try:
            rows = orjson.loads(files.read_all(file))
        except (orjson.JSONDecodeError, RecaptionError) as error:
            rows, why = None, str(error)
        else:
            why = "it is not a list"
        yield (
            file,
            rows if isinstance(rows, list) else Problem(where=file, what=why, advice=advice, kind="not a JSON list"),
        )


def repeated(file: str, rows: Sequence[Any], field: str, advice: str) -> Iterator[Problem]:
    """A warning with the most frequent value of the field, if samples share values."""
    values = Counter(str(row.get(field)) for row in rows if isinstance(row, dict))
    if values and (most := values.most_common(1)[0])[1] > 1:
        yield Problem(
            where=file,
            what=f"{field} {most[0]!r} occurs {most[1]:,} times",
            advice=advice,
            kind=f"duplicate {field}",
            severity="warning",
        )


def is_relative(image: Any) -> bool:
    """Whether it can be a path below --image_folder."""
    return isinstance(image, str) and bool(image) and "://" not in image and not image.startswith("/")
