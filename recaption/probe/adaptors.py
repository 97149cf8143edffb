"""Published captions and statements as queries.

`karpathy` reads the splits of Karpathy and Fei-Fei for COCO, Flickr30k and Flickr8k (dataset_coco.json, …), `urban1k`
the folder of Long-CLIP's Urban1k, `docci` docci_descriptions.jsonlines, and `sugarcrepe` the folder `data` of
SugarCrepe, with one slice for each of its files. `scenes` has the queries of the demo, for captions of scenes, and
writes its images.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from recaption.demo.scenes import render
from recaption.errors import UserError, in_words
from recaption.probe.queries import Query, read
from recaption.probe.scenes import SIDE, Scenes


def load(given: str, images: Path | None) -> list[Query]:
    """Queries of `FILE.parquet`, or of `NAME:PATH`, where NAME is one of ADAPTORS.

    `images` is the folder of the images. Only urban1k and scenes also have a default, which is inside PATH. Raises
    UserError.
    """
    name, colon, path = given.partition(":")
    if not colon or name not in ADAPTORS:
        if given.endswith(".parquet"):
            return read(Path(given))
        raise UserError(
            f"--queries {given}: give a .parquet file, or NAME:PATH, where NAME is one of {', '.join(ADAPTORS)}"
        )
    folder = images or (Path(path, _OWN_IMAGES[name]) if name in _OWN_IMAGES else None)
    if folder is None:
        raise UserError(f"--queries {given}: give the folder of its images with --query-images DIR")
    try:
        made = list(ADAPTORS[name](Path(path), folder))
    except OSError as error:
        raise UserError(f"--queries {given} cannot be read: {in_words(error)}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"--queries {given} does not have the format of {name}: {error!r}") from error
    if not made:
        raise UserError(f"--queries {given} has no queries")
    return made


def has_images(given: str) -> bool:
    """Whether the images of these queries are in a folder that the user may name."""
    return given.partition(":")[0] != "scenes" and not given.endswith(".parquet")


def karpathy(file: Path, images: Path) -> Iterator[Query]:
    """The test images, each with all of its captions."""
    for one in json.loads(file.read_text("utf-8"))["images"]:
        if one["split"] == "test":
            path = images / one.get("filepath", "") / one["filename"]
            yield from (_query(path, sentence["raw"], file.stem) for sentence in one["sentences"])


def urban1k(folder: Path, images: Path) -> Iterator[Query]:
    """One long caption per image: caption/N.txt and image/N.jpg."""
    for path in sorted((folder / "caption").glob("*.txt")):
        yield _query(images / f"{path.stem}.jpg", path.read_text("utf-8"), "urban1k")


def docci(file: Path, images: Path) -> Iterator[Query]:
    """The test images with their descriptions."""
    for line in file.read_text("utf-8").splitlines():
        one = json.loads(line)
        if one["split"] == "test":
            yield _query(images / one["image_file"], one["description"], "docci")


def sugarcrepe(folder: Path, images: Path) -> Iterator[Query]:
    """Captions of COCO val2017, each with a wrong one; the slices are add_att, replace_obj and so on."""
    for path in sorted(folder.glob("*.json")):
        found: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
        for one in found.values():
            yield _query(images / one["filename"], one["caption"], path.stem, one["negative_caption"])


def scenes(folder: Path, images: Path) -> Iterator[Query]:
    """Statements and short captions about scenes that are not trained on. Writes their images into the folder."""
    of = Scenes()
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{scene.seed}.png" for scene in of.test]
    for scene, path in zip(of.test, paths, strict=True):
        if not path.exists():
            render(scene, SIDE).save(part := path.with_suffix(".part"), "PNG")
            part.replace(path)
    for query in of.queries():
        yield replace(query, image=str(paths[int(query.image)]), in_file=True)


def _query(image: Path, text: str, part: str, wrong: str | None = None) -> Query:
    return Query(image=str(image), text=text.strip(), wrong=wrong, slice=part, in_file=True)


ADAPTORS: Final[Mapping[str, Callable[[Path, Path], Iterator[Query]]]] = {
    "karpathy": karpathy,
    "urban1k": urban1k,
    "docci": docci,
    "sugarcrepe": sugarcrepe,
    "scenes": scenes,
}
_OWN_IMAGES: Final = {"urban1k": "image", "scenes": "."}
"""Folders of images inside PATH."""
