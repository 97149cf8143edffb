"""Checks files with one JSON list of samples, the format of LLaVA, FG-CLIP and others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from recaption.errors import RecaptionError
from recaption.export.base import Finding, found_in, named
from recaption.export.image_files import missing_images
from recaption.io import files
from recaption.problems import Problem

Row = dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class ListFormat:
    """A file with one JSON list. `check` finds the problems of a row, `check_file` those of all rows."""

    check: Callable[[Any], Iterator[Finding]]
    check_file: Callable[[list[Any]], Iterator[Finding]]
    image: Callable[[Row], Any]  # the path of a row's image, or a list of paths
    advice: str = "Write one JSON list of samples"  # for a file that has no list
    suffix: str | tuple[str, ...] = ".json"


def list_problems(path: str, form: ListFormat, images: str | None = None) -> Iterator[Problem]:
    """The problems of the files at `path`, whose images are in the folder `images` (see `image_files`)."""
    for file in named(path, form.suffix):
        yield from file_problems(file, form, images)


def file_problems(file: str, form: ListFormat, images: str | None = None) -> Iterator[Problem]:
    """The problems of one file."""
    try:
        rows, what = orjson.loads(files.read_all(file)), "it is not a list"
    except (orjson.JSONDecodeError, RecaptionError) as error:
        rows, what = None, str(error)
    if not isinstance(rows, list):
        yield from found_in(file, [(what, form.advice, "not a JSON list")])
        return
    for n, row in enumerate(rows):
        yield from found_in(f"{file}: sample {n}", form.check(row))
    yield from found_in(file, form.check_file(rows))
    found = (form.image(row) for row in rows if isinstance(row, dict))
    paths = (path for one in found for path in (one if isinstance(one, list) else [one]) if isinstance(path, str))
    yield from found_in(file, missing_images(file, paths, images))


def repeated(rows: Sequence[Any], field: str, advice: str) -> Iterator[Finding]:
    """A warning with the most frequent value of the field, if samples share values."""
    values = Counter(str(row.get(field)) for row in rows if isinstance(row, dict))
    if values and (most := values.most_common(1)[0])[1] > 1:
        yield f"{field} {most[0]!r} occurs {most[1]:,} times", advice, f"duplicate {field}", "warning"
