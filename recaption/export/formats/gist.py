"""GIST: a JSON object with the texts that fit each image best, and a table of the images.

Read by emu1729/GIST, contrastive_training_clip.py: rows of metadata.csv with split train; the texts are "<species>: "
and the first --num_captions texts of `filename` (four in its script). If an image has fewer texts, or if a text has
more than 77 tokens of CLIP, the training stops with an error. The path of an image is the folder and `filename`,
joined without a slash.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any, Final

import orjson

from recaption.errors import RecaptionError, UserError
from recaption.export.base import (
    CLIP_WORDS,
    Exported,
    Finding,
    Options,
    Usage,
    described,
    found_in,
    refuse_classes_without_texts,
)
from recaption.export.csv_table import read_rows
from recaption.export.dataset import Dataset, Select
from recaption.export.image_files import missing_images
from recaption.export.needs import MATCHES, only_table
from recaption.export.rows import PLACE, ExportFiles, ExportSample, Made, csv_file, export_rows, json_object, path_of
from recaption.formatting import number_of
from recaption.io import files
from recaption.problems import Problem
from recaption.tasks.match import NO_TEXTS
from recaption.text import fold

WRITES: Final = "captions_top5.json with five texts per image (KEY.jpg); metadata.csv with its class"
READ_BY: Final = "GIST"
TEXTS: Final = "captions_top5.json"
TABLE: Final = "metadata.csv"
HEADER: Final = ("filename", "split", "label", "species")
READ: Final = 4  # texts of an image
MOST: Final = 5
_REMEDY: Final = (
    "Add their texts to the table that `texts` of the task match names, and run its pipeline again; or remove the "
    "images of these classes from the source"
)


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. The split val becomes the split test. Raises UserError for classes without texts."""
    generation = only_table(dataset, options, MATCHES)
    refuse_classes_without_texts(_classes_without_texts(dataset, generation), _REMEDY)
    labels: dict[str, int] = {}

    def row(sample: ExportSample) -> Made | str:
        rows = sorted(sample.tables[MATCHES.table], key=itemgetter("rank"))
        texts = [text for text in (fold(row["text"]) for row in rows) if len(text.split()) <= CLIP_WORDS][:MOST]
        if len(texts) < READ:
            return f"fewer than {READ} texts of at most {CLIP_WORDS} words"
        species = fold(rows[0]["class_name"])
        label = labels.setdefault(species, len(labels))
        split = "train" if sample.record.split == "train" else "test"
        return [(TEXTS, (sample.image, texts)), (TABLE, (sample.image, split, label, species))]

    arguments = (
        f"--metadata {path_of(dest, TABLE)} --captions_file {path_of(dest, TEXTS)} --num_captions {READ} "
        f"--image_folder {PLACE}/"
    )
    layout = ExportFiles(
        kinds={TEXTS: json_object, TABLE: csv_file(*HEADER)},
        notes=(described({MATCHES.table: generation}),),
        usage=(Usage(program="GIST (all versions, to main of 2023-08)", arguments=arguments),),
        tables={MATCHES.table: MATCHES.made_by(generation)},
        generations=(),
    )
    return export_rows(dataset, dest, options, layout, row)


def _classes_without_texts(dataset: Dataset, generation: str) -> set[str]:
    """The classes of images that the generation rejected because their class has no texts."""
    select = Select(columns=("detail",), generations={generation})
    rejects = (rows for shard in dataset.shards for rows in dataset.table_rows(shard, "rejects", select).values())
    details = (row["detail"].partition(NO_TEXTS)[2] for rows in rejects for row in rows)
    return {name.strip("'\"") for name in details if name}  # as repr writes it


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`: the folder with both files."""
    folder = files.absolute(path).rstrip("/")
    if not files.is_folder(folder):
        raise UserError(f"cannot check {path}: it is not a folder. Give the folder with {TEXTS} and {TABLE}")
    texts, table = f"{folder}/{TEXTS}", f"{folder}/{TABLE}"
    try:
        body = orjson.loads(files.read_all(texts))
        if not isinstance(body, dict):
            raise ValueError("it is not an object")
    except (ValueError, RecaptionError) as error:
        yield from found_in(texts, [(str(error), "Write one JSON object by filename", "not a JSON object")])
        return
    listed = yield from read_rows(table, HEADER)
    for number, row in enumerate(listed, 1):
        yield from found_in(f"{table}: row {number}", _row_findings(row, body))
    yield from found_in(table, missing_images(table, (row["filename"] for row in listed), images))


def _row_findings(row: dict[str, Any], texts: dict[str, Any]) -> Iterator[Finding]:
    if not row["species"].strip():
        yield "its species is empty", "Write the name of the class (TypeError)", "no species"
    if row["split"] != "train":
        return  # it is not read
    found = texts.get(row["filename"])
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        yield f"{row['filename']!r} has no list of texts in {TEXTS}", "Leave the row out (KeyError)", "no texts"
    elif len(found) < READ:
        advice = f"Write {MOST}, or train with a smaller --num_captions (IndexError)"
        yield f"{row['filename']!r} has {number_of(len(found), 'text')}", advice, "too few texts"
    elif any(len(text.split()) > CLIP_WORDS for text in found[:READ]):
        advice = f"Shorten it to {CLIP_WORDS} words: more than 77 tokens end the training"
        yield f"{row['filename']!r} has a text of more than {CLIP_WORDS} words", advice, "long text", "warning"
