"""COCO captions: one JSON object with `images` and `annotations`, several captions per image.

Read by cocodataset/cocoapi, PythonAPI/pycocotools/coco.py, by torchvision.datasets.CocoCaptions and FiftyOne; format:
https://cocodataset.org/#format-data, "Image Captioning". Ids are integers; an annotation names its image by id.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, TypeGuard

import orjson

from recaption.errors import RecaptionError
from recaption.export.base import Exported, Finding, Options, described, found_in, free_names, named
from recaption.export.dataset import Dataset
from recaption.export.image_files import missing_images
from recaption.export.rows import Add, ExportFiles, ExportSample, Made, export_rows, items
from recaption.formatting import number_of
from recaption.io import files
from recaption.io.outfile import outfile
from recaption.io.store import Store
from recaption.problems import Problem
from recaption.text import fold

FILE: Final = "captions.json"
WRITES: Final = "one JSON file with images and annotations, one annotation for each caption"
READ_BY: Final = "pycocotools, torchvision, FiftyOne"
_HEAD: Final = b'{"info": {"description": "recaption"}, "licenses": [], '
_IN_MEMORY: Final = 64 << 20  # bytes of annotations
Rows = Sequence[Mapping[str, Any]]
Check = Callable[[Rows, Rows], Iterator[Finding]]
"""Finds the problems of the images and annotations of a file."""


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. All captions are written; `map` restricts them: NAME=GENERATION, any names."""
    sources = free_names(dataset, options) or {name: name for name in ("raw", *dataset.granularities)}

    def row(sample: ExportSample) -> Made | str:
        record = sample.record
        made = [c for c in record.captions if fold(c.text)]
        if not made:
            return "no caption"
        size = {"width": record.width, "height": record.height}
        image = {"file_name": sample.image, **size, "key": record.key, "sha256": record.sha256, "coco_url": record.url}
        captions = [{"caption": caption.text, "generation": caption.generation} for caption in made]
        return [(FILE, (image, captions))]

    layout = ExportFiles(
        kinds={FILE: partial(coco_kind, _HEAD)}, notes=(described(sources),), generations=set(sources.values())
    )
    return export_rows(dataset, dest, options, layout, row)


@contextmanager
def coco_kind(head: bytes, store: Store, path: str) -> Iterator[Add]:
    """A file to which pairs of an image and its annotations are added; both get their ids here.

    `head` is the beginning of the JSON object, before `images`. Annotations are held back until all images are written.
    """
    images = annotations = 0
    with outfile(store, path, hashed=False) as sink, tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as waiting:
        sink.write(head + b'"images": [')
        add_image, add_annotation = items(sink.write), items(waiting.write)

        def add(row: tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]) -> None:
            nonlocal images, annotations
            image, about = row
            images += 1
            add_image(orjson.dumps({"id": images, **image}))
            for annotation in about:
                annotations += 1
                add_annotation(orjson.dumps({"id": annotations, "image_id": images, **annotation}))

        yield add
        sink.write(b'\n], "annotations": [')
        waiting.seek(0)
        while piece := waiting.read(1 << 20):
            sink.write(piece)
        sink.write(b"\n]}\n")


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. The file is read into memory, as in its readers."""
    yield from coco_problems(path, _findings, images)


def coco_problems(path: str, findings: Check, folder: str | None) -> Iterator[Problem]:
    """The problems of the COCO files at `path`, whose images are in the folder (see `image_files`).

    `findings` checks the rows of `images` and of `annotations`.
    """
    for file in named(path, ".json"):
        body, what = _rows_in(file)
        if body is None:
            advice = "Write images and annotations, each as a list of objects"
            yield from found_in(file, [(what, advice, "not a COCO file")])
            continue
        yield from found_in(file, findings(*body))
        names = (image["file_name"] for image in body[0] if isinstance(image.get("file_name"), str))
        yield from found_in(file, missing_images(file, names, folder))


def _findings(images: Rows, annotations: Rows) -> Iterator[Finding]:
    for name, rows in (("images", images), ("annotations", annotations)):
        if repeated := repeated_ids(rows):
            yield f"{name}: the id {repeated[0]} is repeated", "Use each id once: readers keep the last", "repeated id"
    if without := sum(not isinstance(row.get("caption"), str) or not row["caption"].strip() for row in annotations):
        yield f"{number_of(without, 'annotation has', 'annotations have')} no caption", "Leave them out", "no caption"
    yield from lost_annotations(images, annotations, "Add the image, or leave them out")
    if without := sum(not isinstance(image.get("file_name"), str) for image in images):
        yield f"{number_of(without, 'image has', 'images have')} no file_name", "Name their files", "no file_name"


def repeated_ids(rows: Rows) -> list[str]:
    """The ids that more than one row has."""
    return [id for id, count in Counter(str(row.get("id")) for row in rows).items() if count > 1]


def lost_annotations(images: Rows, annotations: Rows, advice: str) -> Iterator[Finding]:
    """Annotations whose image_id is the id of no image."""
    ids = {str(image.get("id")) for image in images}
    if lost := sum(str(row.get("image_id")) not in ids for row in annotations):
        yield f"{number_of(lost, 'annotation has', 'annotations have')} an image_id that no image has", advice, "lost"


def _rows_in(file: str) -> tuple[tuple[Rows, Rows] | None, str]:
    """The images and the annotations of a file; None, and the reason, if it has no such lists of objects."""
    try:
        body = orjson.loads(files.read_all(file))
    except (orjson.JSONDecodeError, RecaptionError) as error:
        return None, str(error)
    images, annotations = (body.get(name) if isinstance(body, dict) else None for name in ("images", "annotations"))
    if not (_are_rows(images) and _are_rows(annotations)):
        return None, "it is not an object with the lists images and annotations"
    return (images, annotations), ""


def _are_rows(value: Any) -> TypeGuard[Rows]:
    return isinstance(value, list) and all(isinstance(row, dict) for row in value)
