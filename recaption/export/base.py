"""What an exporter is, and what all of them share: options, the folder that they write to, what they tell."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Protocol

from recaption.errors import RecaptionError, UserError
from recaption.export.dataset import Dataset, Split
from recaption.io import files
from recaption.io.store import Store, open_store
from recaption.problems import Problem
from recaption.types import Record
from recaption.write.profile import Fill, places


def _silent(done: int, total: int) -> None:
    pass


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    """What the user may choose. `map` is from a trainer's name to one of our generations; empty: by their kinds."""

    map: Mapping[str, str] = field(default_factory=dict)
    split: Split = "train"
    fill: Fill | None = None  # None: what suits the trainer
    samples_per_shard: int | None = None  # None: what suits the trainer; only where shards are written
    progress: Callable[[int, int], None] = _silent  # shards done, of how many


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What was written. `left_out` counts samples by the reason why the trainer cannot take them."""

    samples: int
    files: int
    left_out: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what to do with it, a line each


class Exporter(Protocol):
    """A module of this package: writes what one trainer reads, and knows what that trainer stumbles over."""

    WRITES: str  # what it writes, in a few words
    READ_BY: str  # the trainer

    def export(self, dataset: Dataset, dest: str, options: Options) -> Exported:
        """Write the dataset to `dest`, a new or empty folder or a store's URL. Raises UserError, DatasetError."""
        ...

    def validate(self, path: str, *, loaders: int | None = None) -> Iterator[Problem]:
        """What is wrong with a dataset for this trainer, whoever wrote it.

        `loaders` is the number of processes that load at the same time: workers x GPUs. Raises UserError if there
        is nothing at `path` that could be checked.
        """
        ...


@contextmanager
def removed_on_failure(store: Store) -> Iterator[None]:
    """When the block fails, remove what it wrote into `store`, which `begin` found empty: the command works again."""
    try:
        yield
    except BaseException:
        with suppress(RecaptionError):  # the first error matters more than what is left
            for folder in list(store.folders("")):
                store.remove(folder)
            for path in list(store.list("")):
                store.delete(path)
        raise


def begin(dataset: Dataset, dest: str, options: Options) -> Store:
    """The store to write to. Raises UserError if it holds something already, or nothing is there to be written."""
    if not dataset.samples(options.split):
        raise UserError(f"{dataset.name} has no usable samples of split {options.split}; choose another with --split")
    try:
        store = open_store(dest)
        used = next(iter(store.list("")), None) or next(iter(store.folders("")), None)
        local = store.local("")
        if used is None and local is not None and local.exists() and not local.is_dir():
            used = local.name
    except NotADirectoryError:
        used = dest
    if used is not None:
        raise UserError(
            f"{dest} is not an empty folder (it has {used}); name a new one, so that nothing is overwritten"
        )
    return store


def chosen(dataset: Dataset, wanted: Mapping[str, str], options: Options, fill: Fill) -> dict[str, str | None]:
    """The generation for each of a trainer's names; `fill` is what suits the trainer. Raises UserError."""
    return places(wanted, dataset.kinds, options.map, options.fill or fill)


def refuse_fill(options: Options) -> None:
    """Raises UserError for a `fill` where a trainer has no places that could be left over."""
    if options.fill is not None:
        raise UserError("--fill is for flair, cosmos and dreamlip, which have several places for texts of a kind")


def refuse_shard_size(options: Options, file: str) -> None:
    """Raises UserError for a `samples_per_shard` where all samples are written to one `file`."""
    if options.samples_per_shard is not None:
        raise UserError(
            f"--samples-per-shard is for formats that write tars or Parquet shards; this one writes one file, {file}. "
            "Leave the option out"
        )


def one_text(dataset: Dataset, wanted: Mapping[str, str], options: Options) -> dict[str, str]:
    """As `chosen`, for trainers with a name for each text and no place to spare: all of them have to be filled, save
    raw ones. A long text may be any generation where none is long; a short one may not: what is cut off is lost."""
    refuse_fill(options)
    made = chosen(dataset, wanted, options, "empty")
    for name, kind in wanted.items():
        if made[name] is None and kind != "raw":
            if options.map or kind == "short" or not dataset.kinds:
                known = ", ".join(("raw", *dataset.kinds))
                raise UserError(f"nothing is mapped to {name}; add --map {name}=ID, where ID is one of {known}")
            made[name] = next(iter(dataset.kinds))
    return {name: generation or "raw" for name, generation in made.items()}


def turned(dataset: Dataset) -> tuple[str, ...]:
    """The warning of an exporter that points at image files, where the source's own do not stand upright."""
    count = dataset.manifest.get("pixels", {}).get("turned", 0)
    if not count:
        return ()
    return (
        f"warning: the model saw {count:,} images turned by their EXIF orientation. The files of a webdataset build "
        "stand upright; of the source's own files, turn these (PIL.ImageOps.exif_transpose), or leave them out",
    )


def records(dataset: Dataset, options: Options, *, sub_captions: bool = False) -> Iterator[Record]:
    """All records of the chosen split, and progress with every shard."""
    for done, shard in enumerate(dataset.shards):
        options.progress(done, len(dataset.shards))
        yield from dataset.records(shard, options.split, sub_captions=sub_captions)
    options.progress(len(dataset.shards), len(dataset.shards))


def named(path: str, suffix: str | tuple[str, ...], below: Sequence[str] = ("",)) -> list[str]:
    """The file at `path`, or those with the suffix in the folder: in the first of the folders `below` that has some.

    Raises UserError if there are none.
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
    wanted = suffix if isinstance(suffix, str) else " or ".join(suffix)
    raise UserError(f"cannot check {path}: there is no {wanted}. Give the file, or the folder that it lies in")


def described(sources: Mapping[str, str | None]) -> str:
    """The map in a line, for the user to see what became what."""
    return "texts: " + ", ".join(f"{name} = {generation or '(empty)'}" for name, generation in sources.items())
