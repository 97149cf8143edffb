"""Hugging Face's imagefolder: images, and `metadata.jsonl` with a row for each of them.

Read by huggingface/datasets, src/datasets/packaged_modules/folder_based_builder/folder_based_builder.py
(`load_dataset("imagefolder", data_dir=DEST)`), and by the Hub's viewer: `file_name` is the path below the folder of
`metadata.jsonl`; all other fields become columns. All rows need the same fields.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import orjson

from recaption.errors import RecaptionError
from recaption.export.base import IMAGES, Exported, Finding, Options, described, found_in, named, one_text
from recaption.export.dataset import SUB_CAPTIONS, Dataset, Select
from recaption.export.image_files import missing_images
from recaption.export.rows import Add, ExportFiles, ExportSample, Made, export_rows
from recaption.io import files
from recaption.io.outfile import outfile
from recaption.io.store import Store
from recaption.problems import Problem
from recaption.text import fold

FILE: Final = "metadata.jsonl"
WRITES: Final = f"{IMAGES}/KEY.jpg, and {FILE} with file_name, text, key, sha256, url and all captions"
READ_BY: Final = "Hugging Face `datasets` (imagefolder), the Hub's viewer"
TEXTS: Final = {"text": "long"}


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. Images are written by default."""
    options = replace(options, images=options.images or "jpg")
    sources = one_text(dataset, TEXTS, options)

    def row(sample: ExportSample) -> Made | str:
        record = sample.record
        text = record.texts().get(sources["text"], "")
        if not fold(text):
            return f"no text of {sources['text']}"
        captions = [
            {
                "generation": caption.generation,
                "text": caption.text,
                "sub_captions": [sub["text"] for sub in sample.sub_captions(caption)],
            }
            for caption in record.captions
        ]
        about = {"key": record.key, "sha256": record.sha256, "url": record.url}
        return [(FILE, {"file_name": f"{IMAGES}/{sample.image}", "text": text, **about, "captions": captions})]

    tables = {SUB_CAPTIONS: Select(columns=("caption_id", "text"))}
    layout = ExportFiles(kinds={FILE: json_lines}, tables=tables, in_images=True, notes=(described(sources),))
    return export_rows(dataset, dest, options, layout, row)


@contextmanager
def json_lines(store: Store, path: str) -> Iterator[Add]:
    """A file with one JSON object in each line."""
    with outfile(store, path, hashed=False) as sink:
        yield lambda row: sink.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. `path` is the folder with metadata.jsonl."""
    for file in named(path, FILE):
        fields: frozenset[str] | None = None
        wanted: list[str] = []
        for n, line in enumerate(files.read_all(file).splitlines()):
            row = _row(line)
            yield from found_in(f"{file}: line {n + 1}", _row_findings(row, fields))
            if row is not None:
                fields = fields or frozenset(row)
                wanted += [row["file_name"]] if isinstance(row.get("file_name"), str) else []
        yield from found_in(file, missing_images(file, wanted, images or file.rpartition("/")[0] or "."))


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        made = orjson.loads(line)
    except (orjson.JSONDecodeError, RecaptionError):
        return None
    return made if isinstance(made, dict) else None


def _row_findings(row: dict[str, Any] | None, fields: frozenset[str] | None) -> Iterator[Finding]:
    if row is None:
        yield "it is not a JSON object", "Write one object per line", "broken line"
    elif not isinstance(row.get("file_name"), str):
        yield "it has no string `file_name`", "Name the image, relative to this file", "no file_name"
    elif fields is not None and frozenset(row) != fields:
        differing = ", ".join(sorted(frozenset(row) ^ fields))
        yield f"its fields differ from those of the first row: {differing}", "Write the same fields", "other fields"
