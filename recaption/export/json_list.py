"""Files with one JSON list of samples, the format of LLaVA and FG-CLIP."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from recaption.errors import RecaptionError
from recaption.export.base import (
    Exported,
    Finding,
    Options,
    Usage,
    begin,
    described,
    found_in,
    named,
    records,
    refuse_shard_size,
    rotated,
)
from recaption.export.dataset import Dataset
from recaption.io import files
from recaption.io.outfile import outfile
from recaption.problems import Problem
from recaption.types import Record

IMAGES: Final = "FOLDER is the folder with the unpacked images, KEY.jpg"
Row = dict[str, Any]


def export_list(
    dataset: Dataset,
    dest: str,
    options: Options,
    *,
    file: str,
    sources: Mapping[str, str | None],
    row: Callable[[Record], Row | str],
    program: str,
    arguments: str,
) -> Exported:
    """Write `<dest>/<file>`, one row per line. `row` returns the reason for a record that is left out.

    `sources` are the generations of the trainer's texts. `program` and `arguments`: see `Usage`; {path} stands for the
    file.
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
    return Exported(
        samples=written,
        files=1,
        left_out=left_out,
        notes=(described(sources), IMAGES, *rotated(dataset)),
        usage=(Usage(program=program, arguments=arguments.format(path=path)),),
    )


def list_problems(
    path: str,
    suffix: str | tuple[str, ...],
    advice: str,
    check: Callable[[Any], Iterator[Finding]],
    check_file: Callable[[list[Any]], Iterator[Finding]],
) -> Iterator[Problem]:
    """The problems of the files at `path`: those that `check` finds in a row, then those of `check_file`.

    `advice` is for a file that has no list.
    """
    for file in named(path, suffix):
        try:
            rows, what = orjson.loads(files.read_all(file)), "it is not a list"
        except (orjson.JSONDecodeError, RecaptionError) as error:
            rows, what = None, str(error)
        if not isinstance(rows, list):
            yield from found_in(file, [(what, advice, "not a JSON list")])
            continue
        for n, row in enumerate(rows):
            yield from found_in(f"{file}: sample {n}", check(row))
        yield from found_in(file, check_file(rows))


def repeated(rows: Sequence[Any], field: str, advice: str) -> Iterator[Finding]:
    """A warning with the most frequent value of the field, if samples share values."""
    values = Counter(str(row.get(field)) for row in rows if isinstance(row, dict))
    if values and (most := values.most_common(1)[0])[1] > 1:
        yield f"{field} {most[0]!r} occurs {most[1]:,} times", advice, f"duplicate {field}", "warning"
