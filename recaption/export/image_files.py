"""Writes and checks the image files of an export: JPEGs or links in the folder `images`, which its rows name.

The rows name `<key>.jpg` also if the export has no image files: unpacking the tars of a build or a source gives these
names.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path

from recaption.decode import decode_whole
from recaption.errors import DatasetError, StoreError, UserError, in_words
from recaption.export.base import IMAGES, Finding, Options
from recaption.export.dataset import Dataset
from recaption.export.images import ImageFile, ReadImage, index_of, with_readers
from recaption.io import files
from recaption.io.store import Store
from recaption.types import Record
from recaption.write import ShardEntry, store_image
from recaption.write.transcode import QUALITY

MISSING = "the image is missing in the source, or has changed"
PixelBox = tuple[int, int, int, int]
"""Left, upper, right and lower edge in pixels."""
WriteImage = Callable[[Mapping[str, PixelBox]], object]
"""Writes the image file of a record, and crops of it by the names of their files, if the export has image files."""


def file_name(record: Record) -> str:
    """The name of the image in the rows of an export."""
    return f"{record.key}.jpg"


def with_files(
    dataset: Dataset, shard: ShardEntry, options: Options, store: Store, records: Iterable[Record]
) -> Iterator[tuple[Record, WriteImage | None]]:
    """The records of a shard, each with a function that writes its image file; None: it is missing.

    Raises UserError for links to files that are not on a local disk, or are only parts of files.
    """
    if options.images == "jpg":
        folder = store.local(IMAGES)
        if folder is not None:
            make_folder(folder)
        write = partial(_upload, store) if folder is None else partial(_write, str(folder))
        for record, read in with_readers(dataset, shard, records):
            yield record, None if read is None else partial(write, record, read)
        return
    if not options.with_images:
        for record in records:
            yield record, _nothing
        return
    folder = store.local(IMAGES)
    if folder is None:
        raise UserError(f"--images symlink needs a local folder as DEST, not {store.url}; use --images jpg")
    image_of = local_images(dataset, shard, "--images symlink", "use --images jpg")
    for record in records:
        target = image_of(record)
        if target is not None:
            make_folder(folder)
        yield record, None if target is None else partial(_symlink, folder / file_name(record), target)


def _nothing(crops: Mapping[str, PixelBox]) -> None:
    pass


def as_jpeg(image: ImageFile, record: Record) -> bytes:
    """The bytes of the image as JPEG. Those of a JPEG are not changed."""
    if image.suffix == "jpg":
        return image.data
    return store_image(image.data, record.sha256, "jpeg", key=record.key, shard=record.shard).data


def put_text(store: Store, path: str, text: str) -> None:
    """Write a file of an export that has one for each sample. Raises StoreError if it cannot be written."""
    local = store.local(path)
    if local is None:
        store.put(path, text.encode())
    else:
        _write_file(str(local), text.encode())


def _write(folder: str, record: Record, read: ReadImage, crops: Mapping[str, PixelBox]) -> None:
    data = as_jpeg(read(), record)
    _write_file(f"{folder}/{file_name(record)}", data)
    for name, crop in _cropped(data, crops):
        _write_file(f"{folder}/{name}", crop)


def _cropped(data: bytes, crops: Mapping[str, PixelBox]) -> Iterator[tuple[str, bytes]]:
    if not crops:
        return
    image, _ = decode_whole(data)
    for name, box in crops.items():
        sink = io.BytesIO()
        image.crop(box).save(sink, "JPEG", quality=QUALITY, subsampling=0)
        yield name, sink.getvalue()


def _write_file(path: str, data: bytes) -> None:
    """Writes a file without a sync, which is slow and not needed: a failed export is removed."""
    try:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)  # `open` makes more system calls
        try:
            written = os.write(file, data)
            while written < len(data):  # a system call writes at most 2 GiB, and less if the disk becomes full
                written += os.write(file, data[written:])
        finally:
            os.close(file)
    except OSError as error:
        raise StoreError(f"cannot write {path}: {in_words(error)}") from error


def _upload(store: Store, record: Record, read: ReadImage, crops: Mapping[str, PixelBox]) -> None:
    data = as_jpeg(read(), record)
    for name, file in ((file_name(record), data), *_cropped(data, crops)):
        store.put(f"{IMAGES}/{name}", file)


def local_images(dataset: Dataset, shard: ShardEntry, option: str, instead: str) -> Callable[[Record], Path | None]:
    """A function that returns the image file of a record in the source, or None if it is missing or has another size.

    It raises UserError for images that are not files on a local disk. The message names the `option` that needs them,
    and what to do `instead`.
    """
    try:
        images = {image.row: image for image in index_of(dataset, shard.name)}
    except DatasetError as error:
        raise UserError(f"{option} needs the index of the source; {instead} ({error})") from error

    def path(record: Record) -> Path | None:
        image = images.get(record.row)
        if image is None or (image.key, image.sha256) != (record.key, record.sha256):
            raise UserError(f"{option} needs a build with the shards of its source; {instead}")
        place = image.locator
        if files.is_url(place.path) or place.member is not None or place.row is not None:
            raise UserError(f"{option} needs image files on a local disk, not {place.path}; {instead}")
        found = Path(files.absolute(place.path))
        return found if found.is_file() and found.stat().st_size == place.size else None

    return path


def make_folder(folder: Path) -> None:
    """A folder on the local disk for the files of an export. Raises StoreError if it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write {folder}: {in_words(error)}") from error


def _symlink(link: Path, target: Path, crops: Mapping[str, PixelBox]) -> None:
    try:
        link.symlink_to(target)
    except OSError as error:  # for example a file system without links
        raise StoreError(f"cannot make the link {link}: {in_words(error)}. Use --images jpg") from error


def missing_images(file: str, names: Iterable[str], images: str | None) -> Iterator[Finding]:
    """An error if image files are missing. Relative names are files in the folder `images`.

    The default is the folder `images` beside the file that names them.
    """
    folder = images or f"{file.rpartition('/')[0] or '.'}/{IMAGES}"
    wanted = sorted({name for name in names if "://" not in name})
    here = files.is_folder(folder)
    listed = {path.rpartition("/")[2] for path in files.entries(folder)} if here else set()
    lacking = [name for name in wanted if name not in listed and not _exists(folder if here else None, name)]
    if lacking:
        what = f"image files that are not in {folder}: {len(lacking):,} of {len(wanted):,}, for example {lacking[0]}"
        advice = "Name their folder with --images FOLDER, or export with --images jpg"
        yield what, advice, "missing images"


def _exists(folder: str | None, name: str) -> bool:
    if name.startswith("/"):
        return files.is_file(name)
    return folder is not None and files.is_file(f"{folder}/{name}")
