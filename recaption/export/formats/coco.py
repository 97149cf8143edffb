"""COCO captions: one JSON object with `images` and `annotations`, several captions per image.

Read by cocodataset/cocoapi, PythonAPI/pycocotools/coco.py, by torchvision.datasets.CocoCaptions and FiftyOne; format:
https://cocodataset.org/#format-data, "Image Captioning". Ids are integers; an annotation names its image by id.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import orjson

from recaption.errors import RecaptionError
from recaption.export.base import Exported, Finding, Options, described, found_in, free_names, named
from recaption.export.dataset import Dataset
from recaption.export.image_files import missing_images
from recaption.export.rows import Add, ExportFiles, ExportSample, Made, export_rows, items
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
    for file in named(path, ".json"):
        yield from found_in(file, _findings(file, images))


def _findings(file: str, folder: str | None) -> Iterator[Finding]:
    body, what = objects_in(file, "images", "annotations")
    if body is None:
        yield what, "Write images and annotations, each as a list of objects", "not a COCO file"
        return
    images, annotations = body
    for name, rows in (("images", images), ("annotations", annotations)):
        if repeated := repeated_ids(rows):
            yield f"{name}: the id {repeated[0]} is repeated", "Use each id once: readers keep the last", "repeated id"
    if without := sum(not isinstance(row.get("caption"), str) or not row["caption"].strip() for row in annotations):
        yield f"{without:,} annotations have no caption", "Leave them out", "no caption"
    yield from lost_annotations(images, annotations, "Add the image, or leave them out")
    names = [image["file_name"] for image in images if isinstance(image.get("file_name"), str)]
    if len(names) < len(images):
        yield f"{len(images) - len(names):,} images have no file_name", "Name their files", "no file_name"
    yield from missing_images(file, names, folder)


def repeated_ids(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The ids that more than one row has."""
    return [id for id, count in Counter(str(row.get("id")) for row in rows).items() if count > 1]


def lost_annotations(
    images: Sequence[Mapping[str, Any]], annotations: Sequence[Mapping[str, Any]], advice: str
) -> Iterator[Finding]:
    """Annotations whose image_id is the id of no image."""
    ids = {str(image.get("id")) for image in images}
    if lost := sum(str(row.get("image_id")) not in ids for row in annotations):
        yield f"{lost:,} annotations have an image_id that no image has", advice, "lost"


def objects_in(file: str, *names: str) -> tuple[list[list[dict[str, Any]]] | None, str]:
    """These lists of objects of a JSON file; None, and the reason, if it does not have all of them."""
    try:
        body = orjson.loads(files.read_all(file))
    except (orjson.JSONDecodeError, RecaptionError) as error:
        return None, str(error)
    lists: list[Any] = [body.get(name) if isinstance(body, dict) else None for name in names]
    if not all(isinstance(rows, list) and all(isinstance(row, dict) for row in rows) for rows in lists):
        return None, f"it is not an object with the lists {' and '.join(names)}"
    return lists, ""
