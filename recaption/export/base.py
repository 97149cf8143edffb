"""The protocol of exporters, and what all of them share: options, destination, results."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from recaption.errors import RecaptionError, UserError
from recaption.export.dataset import Dataset, Split
from recaption.export.unfinished import UNFINISHED, in_use
from recaption.formatting import number_of
from recaption.io import files
from recaption.io.store import Store, open_store
from recaption.output.paths import BUILDS, MANIFEST
from recaption.problems import Problem, Severity
from recaption.source.paths import is_pattern
from recaption.types import Record
from recaption.write.entry import ShardEntry
from recaption.write.profile import Fill, places

Images = Literal["none", "jpg", "symlink"]
"""Image files in the export: none; JPEGs; or links to the files of a source that is a local folder."""
IMAGES: Final = "images"
"""The folder of these files, in the folder of the export."""

Captions = Literal["one", "lines", "tags"]
"""Content of a text file beside an image: a caption; several texts, one per line; or the objects as a list."""

SHOWN_CLASSES: Final = 20
"""Classes that a message names."""
OF_PARTS: Final = ("region", "aspect")
"""The granularities of captions that are not of a whole image. Captions with a region have one of them."""
CLIP_WORDS: Final = 45
"""Longest text about a class, in words. With the name of the class, a longer one may exceed the 77 tokens of CLIP."""


def all_texts(record: Record) -> Sequence[str]:
    """All captions, and all sub-captions that repeat no earlier one and have a weight above 0."""
    subs = (sub for caption in record.captions for sub in caption.sub_captions)
    return [caption.text for caption in record.captions] + [s.text for s in subs if s.dup_of is None and s.weight > 0]


def _silent(done: int, total: int) -> None:
    pass


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """The user's options. `map` maps texts of the trainer, and names of tables, to generations.

    If it names no text, the texts of the trainer are matched to generations by granularity.
    """

    map: Mapping[str, str] = field(default_factory=dict)
    split: Split = "train"
    fill: Fill | None = None  # None: the trainer's default
    samples_per_shard: int | None = None  # None: the trainer's default; only where shards are written
    images: Images | None = None  # only for formats that name image files; None: the format's default
    captions: Captions = "one"  # only for txt
    in_place: bool = False  # only for txt: beside the images of the source, which are below `dest`
    overwrite: bool = False  # only with `in_place`: text files that exist
    draw: Callable[[Record], Sequence[str]] = all_texts  # for `captions` "lines": the lines of a text file
    progress: Callable[[int, int], None] = _silent  # called with the number of finished shards and of all

    @property
    def with_images(self) -> bool:
        """Whether image files are written. Exporters with another default than none replace `images` before."""
        return self.images in ("jpg", "symlink")


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """The arguments with which a program reads an export, quoted for a shell.

    FOLDER stands for the folder with the unpacked images.
    """

    program: str  # its name, and the versions that take these arguments
    arguments: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """The result of an export. `left_out` counts samples by the reason why the trainer cannot use them."""

    samples: int
    files: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # one line each
    usage: tuple[Usage, ...] = ()


class Exporter(Protocol):
    """A module of this package: writes the format of one trainer, and checks datasets in that format."""

    WRITES: str  # the format, in a few words
    READ_BY: str  # the trainer

    def export(self, dataset: Dataset, dest: str, options: Options) -> Exported:
        """Write the dataset to `dest`, a new or empty folder or a store's URL. Raises UserError, DatasetError."""
        ...

    def validate(self, path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
        """The problems that this trainer has with a dataset, written by recaption or another program.

        `loaders` is the number of processes that load at the same time: workers x GPUs. `images` is the folder of the
        image files that the format names, if it names any; None: the folder `images` of the dataset. Raises UserError
        if `path` has no file of this format.
        """
        ...


Finding = tuple[str, str, str] | tuple[str, str, str, Severity]
"""What is wrong with a file, a sample or a row, the advice, the kind, and the severity if it is not an error."""


def found_in(where: str, findings: Iterable[Finding]) -> Iterator[Problem]:
    """The problems of the file, sample or row at `where`."""
    for what, advice, kind, *severity in findings:
        yield Problem(where=where, what=what, advice=advice, kind=kind, severity=severity[0] if severity else "error")


def begin(dataset: Dataset, dest: str, options: Options, *, names_images: bool = False) -> Store:
    """The store to write to. Raises UserError if it is not empty, or if the split has no samples.

    `names_images`: the format names image files, so `options.images` may ask for them.
    """
    if options.with_images and not names_images:
        raise UserError(f"--images {options.images} is for formats that name image files; leave the option out")
    require_samples(dataset, options)
    try:
        store = open_store(dest)
        used = next(iter(store.list("")), None) or next(iter(store.folders("")), None)
        if used is not None and store.exists(UNFINISHED):
            raise UserError(in_use(dest))
        local = store.local("")
        if local is not None:
            refuse_inside_build(dest, local)
        if used is None and local is not None:
            first = next(place for place in (local, *local.parents) if place.exists())
            if not first.is_dir():
                raise UserError(f"{dest} cannot be a folder: {first} is a file. Name a new folder")
    except NotADirectoryError:
        used = dest
    if used is not None:
        raise UserError(
            f"{dest} is not an empty folder (it has {used}); name a new one, so that nothing is overwritten"
        )
    return store


def refuse_inside_build(dest: str, local: Path) -> None:
    """Raises UserError if `local` is a build of an output or inside of one.

    Builds never change, and `--prune` deletes old ones.
    """
    real = local.resolve()
    build = next(
        (folder for folder in (real, *real.parents) if folder.parent.name == BUILDS and (folder / MANIFEST).is_file()),
        None,
    )
    if build is not None:
        raise UserError(
            f"{dest} is inside the build {build}, which never changes and may be deleted later. Name a folder elsewhere"
        )


def require_samples(dataset: Dataset, options: Options) -> None:
    """Raises UserError if the split has no samples."""
    if not dataset.samples(options.split):
        raise UserError(f"{dataset.name} has no usable samples of split {options.split}; choose another with --split")


def chosen(dataset: Dataset, wanted: Mapping[str, str], options: Options, fill: Fill) -> dict[str, str | None]:
    """The generation for each text of a trainer; `fill` is the trainer's default. Raises UserError."""
    return places(wanted, dataset.granularities, options.map, options.fill or fill)


def refuse_fill(options: Options) -> None:
    """Raises UserError if `fill` is set although the trainer has one place per text."""
    if options.fill is not None:
        raise UserError(
            "--fill is for flair, cosmos and dreamlip only, which have several places for texts of one granularity"
        )


def refuse_classes_without_texts(classes: Collection[str], remedy: str) -> None:
    """Raises UserError that names some of the classes, if there are any."""
    if classes:
        shown = sorted(classes)[:SHOWN_CLASSES]
        more = f", and {len(classes) - len(shown):,} more" if len(classes) > len(shown) else ""
        names = ", ".join(shown) + more
        raise UserError(f"classes that were rejected or have no texts: {len(classes):,} ({names}). {remedy}")


def refuse_shard_size(options: Options, file: str) -> None:
    """Raises UserError if `samples_per_shard` is set although the format writes `file`, not shards."""
    if options.samples_per_shard is not None:
        raise UserError(
            f"--samples-per-shard is for formats that write tars or Parquet shards; this one writes {file}. "
            "Leave the option out"
        )


def of_images(dataset: Dataset) -> dict[str, str]:
    """The granularity of each generation with captions of whole images, in pipeline order."""
    return {name: kind for name, kind in dataset.granularities.items() if kind not in OF_PARTS}


def free_names(dataset: Dataset, options: Options) -> dict[str, str]:
    """The map, for a format in which the user chooses the names. Raises UserError for an unknown generation."""
    refuse_fill(options)
    known = ("raw", *dataset.granularities)
    for name, generation in options.map.items():
        if generation not in known:
            raise UserError(f"map {name}={generation}: unknown generation {generation!r}; allowed: {', '.join(known)}")
    return dict(options.map)


def one_text(dataset: Dataset, wanted: Mapping[str, str], options: Options) -> dict[str, str]:
    """As `chosen`, for trainers with one place per text. Raises UserError if a place other than raw stays empty.

    Without a long generation, any generation is used for a long text. A short text needs a short generation, because
    trainers truncate it.
    """
    refuse_fill(options)
    made = chosen(dataset, wanted, options, "empty")
    for name, kind in wanted.items():
        if made[name] is None and kind != "raw":
            if options.map or kind == "short" or not dataset.granularities:
                known = ", ".join(("raw", *dataset.granularities))
                raise UserError(f"no generation is mapped to {name}; add --map {name}=ID, where ID is one of {known}")
            made[name] = next(iter(dataset.granularities))
    return {name: generation or "raw" for name, generation in made.items()}


def rotated(dataset: Dataset) -> tuple[str, ...]:
    """The warning of an exporter that refers to image files, if some files of the source are not upright."""
    count = dataset.manifest.get("pixels", {}).get("turned", 0)
    if not count:
        return ()
    return (
        f"warning: the model saw {number_of(count, 'image')} rotated by the EXIF orientation. The images of a "
        "webdataset build are upright; in the source's own files, rotate them (PIL.ImageOps.exif_transpose), or "
        "leave them out",
    )


def shards(dataset: Dataset, options: Options) -> Iterator[ShardEntry]:
    """All shards. Reports progress after every one."""
    for done, shard in enumerate(dataset.shards):
        options.progress(done, len(dataset.shards))
        yield shard
    options.progress(len(dataset.shards), len(dataset.shards))


def refuse_missing(path: str, images: str | None = None) -> None:
    """Raises UserError if nothing exists at `path`, which may be a pattern, or if there is no folder `images`."""
    try:
        if not is_pattern(path) and not files.is_folder(path) and not files.is_file(path):
            raise UserError(f"cannot check {path}: there is no such file or folder. Correct the path")
        if images is not None and not files.is_folder(images):
            raise UserError(f"--images {images}: there is no such folder. Name the folder with the images")
    except RecaptionError as error:
        raise UserError(f"cannot check {path}: {error}") from error


def named(path: str, suffix: str | tuple[str, ...], below: Sequence[str] = ("",)) -> list[str]:
    """The file at `path`, or the files with the suffix, which may lack its dot, in the folder `path`.

    The first of its subfolders `below` that has such files is listed. Raises UserError if there are none.
    """
    folder = path.rstrip("/")
    try:
        if files.is_file(path):
            return [path]
        for place in (f"{folder}/{name}".rstrip("/") for name in below):
            found = [f for f in files.entries(place) if f.endswith(suffix)] if files.is_folder(place) else []
            if found:
                return found
    except RecaptionError as error:
        raise UserError(f"cannot check {path}: {error}") from error
    suffixes = (suffix,) if isinstance(suffix, str) else suffix
    wanted = " or ".join(one if "." in one else f".{one}" for one in suffixes)
    raise UserError(f"cannot check {path}: there is no {wanted}. Give the file or its folder")


def is_relative(image: Any) -> bool:
    """Whether `image` can be a path below a trainer's folder of images."""
    return isinstance(image, str) and bool(image) and "://" not in image and not image.startswith("/")


def lacking(row: Any, names: Iterable[str]) -> list[str]:
    """Those of `names` for which the row has no string."""
    return [name for name in names if not isinstance(row, dict) or not isinstance(row.get(name), str)]


def replaced_raw(place: str, text: str, count: int, samples: int) -> tuple[str, ...]:
    """The note about samples without a raw caption for which `place` has another `text`, if there are any."""
    if not count:
        return ()
    return (
        f"samples without a raw caption: {count:,} of {samples:,}; {place} has their {text} instead, because the "
        "trainer reads it for each image",
    )


def described(sources: Mapping[str, str | None]) -> str:
    """One line with the generation of each text, for the user."""
    return "texts: " + ", ".join(f"{name} = {generation or '(empty)'}" for name, generation in sources.items())
