"""Files with one JSON list of samples, the format of LLaVA and FG-CLIP."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from recaption.errors import RecaptionError
from recaption.export.base import Exported, Options, begin, described, named, records, refuse_shard_size, rotated
from recaption.export.dataset import Dataset
from recaption.io import files
from recaption.io.outfile import outfile
from recaption.problems import Problem
from recaption.types import Record

Row = dict[str, Any]
RowProblem = tuple[str, str, str]
"""The problem of a row, its advice and its kind."""


def export_list(
    dataset: Dataset,
    dest: str,
    options: Options,
    *,
    file: str,
    sources: Mapping[str, str | None],
    row: Callable[[Record], Row | str],
    flags: str,
) -> Exported:
    """Write `<dest>/<file>`, one row per line. `row` returns the reason for a record that is left out.

    `sources` are the generations of the trainer's texts; `flags` are the trainer's arguments, with {path} for the file.
    """
    refuse_shard_size(options, file)
    store = begin(dataset, dest, options)
    left_out: Counter[str] = Counter()
    written = 0
    with outfile(store, file) as sink:
        sink.write(b"[")
        for made in map(row, records(dataset, options)):
            if isinstance(made, str):
                left_out[made] += 1
                continue
            sink.write((b",\n" if written else b"\n") + orjson.dumps(made))
            written += 1
        sink.write(b"\n]\n")
    path = shlex.quote(f"{files.absolute(dest).rstrip('/')}/{file}")
    notes = (described(sources), f"{flags.format(path=path)}  # FOLDER has the unpacked images, KEY.jpg")
    return Exported(samples=written, files=1, left_out=left_out, notes=(*notes, *rotated(dataset)))


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


def row_problems(file: str, rows: Sequence[Any], check: Callable[[Any], Iterator[RowProblem]]) -> Iterator[Problem]:
    """The problems of all rows of a file."""
    for n, row in enumerate(rows):
        for what, advice, kind in check(row):
            yield Problem(where=f"{file}: sample {n}", what=what, advice=advice, kind=kind)


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
