"""CE-CLIP: NumPy files with dictionaries: a caption and four false ones, each with a flag whether it is valid.

Read by lezhang7/Enhance-FineGrained, src/training/data.py (branch cvpr), NpyDataset: all files of the folder; false
captions in the order relation, adjective, noun, verb. Of the five flags in `valid_caption`, training drops the first.
`image_path` is opened as it is; but if the path of the data contains "coco", an image of COCO is opened by `image_id`.

If a caption has no word of one of these kinds, CE-CLIP's own data mask a word that does not occur, and mark the result
as valid. Here, the false caption of this kind is then "###", which is marked as not valid.
"""

from __future__ import annotations

import io
import math
import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final

import numpy as np

from recaption.errors import RecaptionError, UserError
from recaption.export.base import Exported, Finding, Options, Usage, described, found_in, lacking, named
from recaption.export.dataset import Dataset
from recaption.export.image_files import missing_images
from recaption.export.needs import NEGATIVES, only_table
from recaption.export.negatives import changed, first_of, tables_of
from recaption.export.rows import Add, ExportFiles, ExportSample, Made, Row, export_rows, path_of
from recaption.io import files
from recaption.io.store import Store
from recaption.problems import Problem
from recaption.tasks.changes import Category
from recaption.text import fold

WRITES: Final = "NumPy files with caption, four *_aug_caption, valid_caption, image_path"
READ_BY: Final = "CE-CLIP"
SLOTS: Final[Mapping[str, Sequence[Category]]] = {
    "relation_aug_caption": ("swap", "relation", "place"),
    "adj_aug_caption": ("attribute", "number"),
    "noun_aug_caption": ("object",),
    "verb_aug_caption": ("action",),
}
"""The false captions in the order of the flags, each with the categories of negatives for it, best first."""
NONE: Final = "###"
FILE: Final = "00000.npy"  # the first one
ROWS: Final = 50_000  # in a file, as in CE-CLIP's own data


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. There is a row for each sub-caption with a negative."""
    generation = only_table(dataset, options, NEGATIVES)
    where = files.absolute(dest)
    if "coco" in where:
        raise UserError(f'{where} contains "coco": CE-CLIP would open images of COCO instead. Name another folder')
    written = 0

    def row(sample: ExportSample) -> Made | str:
        nonlocal written
        made = list(_rows(sample))
        written += len(made)
        return [(FILE, line) for line in made] or "no sub-caption with a negative"

    notes = [described({NEGATIVES.table: generation})]
    if not options.with_images:
        notes.append("image_path is KEY.jpg: start the training in the folder of the images, or use --images jpg")
    arguments = f"--dataset-type npy --train-data {path_of(dest)}"
    layout = ExportFiles(
        kinds={FILE: _numpy_files},
        notes=notes,
        usage=(Usage(program="CE-CLIP (branch cvpr, to 2024-03; main has no npy)", arguments=arguments),),
        tables=tables_of(generation),
        generations=(),
    )
    done = export_rows(dataset, dest, options, layout, row)
    return replace(done, files=math.ceil(written / ROWS))


def _rows(sample: ExportSample) -> Iterator[Row]:
    for sub, negatives in changed(sample):
        false = {name: first_of(negatives, categories) or NONE for name, categories in SLOTS.items()}
        about = {"caption": fold(sub["text"]), **false, "valid_caption": [1, *(int(t != NONE) for t in false.values())]}
        yield {**about, "image_id": sample.record.key, "image_path": sample.path}


@contextmanager
def _numpy_files(store: Store, path: str) -> Iterator[Add]:
    rows: list[Any] = []
    number = 0

    def flush() -> None:
        nonlocal number
        sink = io.BytesIO()
        np.save(sink, np.array(rows, dtype=object))
        store.put(f"{number:05d}.npy", sink.getvalue())
        number += 1
        rows.clear()

    def add(row: Any) -> None:
        rows.append(row)
        if len(rows) == ROWS:
            flush()

    yield add
    if rows or not number:
        flush()


class _Plain(pickle.Unpickler):
    """Reads arrays of plain values. Unpickling anything else could run code from the file."""

    def find_class(self, module: str, name: str) -> Any:
        if (module.removeprefix("numpy.").replace("_core", "core"), name) == ("core.multiarray", "_reconstruct"):
            return np.empty((0,)).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        raise pickle.UnpicklingError(f"it has an object of {module}.{name}")


def _read(file: str) -> list[Any]:
    """The rows of a file. Raises ValueError if it is not a NumPy file with plain values."""
    data = io.BytesIO(files.read_all(file))
    try:
        version = np.lib.format.read_magic(data)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, kind = read(data)
        if not kind.hasobject or len(shape) != 1:
            raise ValueError(f"it has an array of type {kind} and shape {shape}, not a list of dictionaries")
        return list(_Plain(data).load())
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, TypeError) as error:
        raise ValueError(str(error)) from error


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. Files are read into memory, as in the trainer; code in them is not run."""
    if "coco" in files.absolute(path):
        advice = "Move the data to a folder without it: CE-CLIP would open images of COCO by image_id"
        yield from found_in(path, [('its path contains "coco"', advice, "path of COCO")])
    for file in named(path, ".npy"):
        try:
            rows = _read(file)
        except (ValueError, RecaptionError) as error:
            advice = "Write a NumPy array of dictionaries with texts, numbers and lists"
            yield from found_in(file, [(str(error), advice, "broken file")])
            continue
        for number, row in enumerate(rows):
            yield from found_in(f"{file}: row {number}", _row_findings(row))
        paths = [row.get("image_path") for row in rows if isinstance(row, dict)]
        yield from found_in(file, missing_images(file, (name for name in paths if isinstance(name, str)), images))


def _row_findings(row: Any) -> Iterator[Finding]:
    names = ("caption", *SLOTS)
    missing = lacking(row, (*names, "image_path"))
    if missing:
        yield f"it has no text in {', '.join(missing)}", 'Write "###" for a missing one (KeyError)', "missing text"
        return
    valid = row.get("valid_caption")
    if not isinstance(valid, list) or len(valid) != len(names) or not set(valid) <= {0, 1}:
        advice = "Write five flags, 0 or 1: caption, relation, adj, noun, verb; training drops the first"
        yield f"valid_caption is {valid!r}", advice, "wrong flags"
        return
    for name, flag in zip(names, valid, strict=True):
        text = row[name].strip()
        if flag and (text in ("", NONE) or "<mask>" in text):
            yield f"{name} is {text!r}, but valid", "Set its flag to 0", "placeholder is valid"
        elif flag and name != "caption" and text == row["caption"].strip():
            yield f"{name} is the caption itself", "Set its flag to 0", "negative is the caption"
