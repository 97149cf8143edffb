"""The image files of an export: JPEGs or links in the folder `images`, which its rows name; and whether they are there.

The name is `<key>.jpg`, also without image files: that of the file when the tars of a build or a source are unpacked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from recaption.errors import DatasetError, StoreError, UserError, in_words
from recaption.export.base import IMAGES, Finding, Options
from recaption.export.dataset import Dataset
from recaption.export.pixels import ImageFile, index_of, with_images
from recaption.io import files
from recaption.io.store import Store
from recaption.types import Image, Record
from recaption.write import ShardEntry, store_image

MISSING = "the image is missing in the source, or has changed"
Keep = Callable[[], object]
"""Writes the image file of a record, if the export has image files."""


def file_name(record: Record) -> str:
    """The name of the image in the rows of an export."""
    return f"{record.key}.jpg"


def with_files(
    dataset: Dataset, shard: ShardEntry, options: Options, store: Store, *, sub_captions: bool = False
) -> Iterator[tuple[Record, Keep | None]]:
    """The shard's samples of the chosen split, each with what writes its image file; None if the image is missing.

    Raises UserError for links to files that are not on a local disk, or are only parts of files.
    """
    if options.images == "jpg":
        folder = store.local(IMAGES)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        write = partial(_upload, store) if folder is None else partial(_write, str(folder))
        for record, image in with_images(dataset, shard, options.split, sub_captions=sub_captions):
            yield record, None if image is None else partial(write, record, image)
        return
    places = _indexed(dataset, shard, store) if options.images == "symlink" else None
    for record in dataset.records(shard, options.split, sub_captions=sub_captions):
        yield record, _nothing if places is None else _link(places, record, store)


def _nothing() -> None:
    pass


def as_jpeg(image: ImageFile, record: Record) -> bytes:
    """The bytes of the image as JPEG. Those of a JPEG are not changed."""
    if image.suffix == "jpg":
        return image.data
    return store_image(image.data, record.sha256, "jpeg", key=record.key, shard=record.shard).data


def _write(folder: str, record: Record, image: ImageFile) -> None:
    data, path = as_jpeg(image, record), f"{folder}/{file_name(record)}"
    try:
        with open(path, "wb") as file:  # without a sync for each image: a failed export is removed
            file.write(data)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {in_words(error)}") from error


def _upload(store: Store, record: Record, image: ImageFile) -> None:
    store.put(f"{IMAGES}/{file_name(record)}", as_jpeg(image, record))


def _indexed(dataset: Dataset, shard: ShardEntry, store: Store) -> Mapping[int, Image]:
    if store.local(IMAGES) is None:
        raise UserError(f"--images symlink needs a local folder as DEST, not {store.url}; use --images jpg")
    try:
        return {image.row: image for image in index_of(dataset, shard.name)}
    except DatasetError as error:
        raise UserError(f"--images symlink needs the index of the source; use --images jpg ({error})") from error


def _link(places: Mapping[int, Image], record: Record, store: Store) -> Keep | None:
    image = places.get(record.row)
    if image is None or (image.key, image.sha256) != (record.key, record.sha256):
        raise UserError("--images symlink needs a build with the shards of its source; use --images jpg")
    place = image.locator
    if files.is_url(place.path) or place.member is not None or place.row is not None:
        raise UserError(f"--images symlink needs image files on a local disk, not {place.path}; use --images jpg")
    target, link = Path(files.absolute(place.path)), store.local(f"{IMAGES}/{file_name(record)}")
    if link is None or not target.is_file() or target.stat().st_size != place.size:
        return None
    link.parent.mkdir(parents=True, exist_ok=True)
    return partial(link.symlink_to, target)


def missing_images(file: str, names: Iterable[str], images: str | None) -> Iterator[Finding]:
    """An error with the number of image files that are missing. Relative names are those in the folder `images`.

    By default, it is the folder `images` beside the file that names them.
    """
    folder = images or f"{file.rpartition('/')[0] or '.'}/{IMAGES}"
    wanted = sorted({name for name in names if "://" not in name})
    here = files.is_folder(folder)
    listed = {path.rpartition("/")[2] for path in files.entries(folder)} if here else set()
    lacking = [name for name in wanted if name not in listed and not _exists(folder if here else None, name)]
    if lacking:
        what = f"{len(lacking):,} of {len(wanted):,} image files are not in {folder}, for example {lacking[0]}"
        advice = "Name their folder with --images FOLDER, or export with --images jpg"
        yield what, advice, "missing images"


def _exists(folder: str | None, name: str) -> bool:
    if name.startswith("/"):
        return files.is_file(name)
    return folder is not None and files.is_file(f"{folder}/{name}")
