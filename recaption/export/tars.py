"""WebDataset tars for CLIP-style trainers: writes them from a build, and checks their samples.

Grouping and naming are webdataset's (tariterators.py, base_plus_ext and group_by_keys); sizes.json is open_clip's
(open_clip_train/data.py, get_dataset_size), as in FLAIR and COSMOS.
"""

from __future__ import annotations

import itertools
import shlex
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from recaption.errors import DatasetError, RecaptionError, SourceError, UserError
from recaption.export.base import Exported, Finding, Options, begin, found_in, shards
from recaption.export.dataset import Dataset
from recaption.export.image_files import MISSING, as_jpeg
from recaption.export.images import ImageFile, with_readers
from recaption.export.rows import ExportSample, Tables, rows_of, sample_of
from recaption.export.unfinished import removed_on_failure
from recaption.formatting import number_of
from recaption.io import files
from recaption.io.outfile import outfile
from recaption.io.store import Store
from recaption.io.tar import BrokenTarError, TarReader, split_name
from recaption.problems import Problem
from recaption.source.paths import list_files
from recaption.write.webdataset import end_mark, pieces, primary_text

PER_TAR: Final = 5_000
"""Samples of a tar, at most, as in FLAIR's own data: loading processes read whole tars, so many tars are needed."""
IMAGES: Final = ("jpg", "png", "jpeg", "webp")
"""Suffixes that open_clip, FLAIR and COSMOS read as images."""
_LARGEST = 16 << 20  # bytes of a text member that is read
Members = Sequence[tuple[str, bytes]]


def export_tars(
    dataset: Dataset,
    dest: str,
    options: Options,
    texts: Callable[[ExportSample], Mapping[str, Any]],
    *,
    tables: Tables | None = None,
) -> Exported:
    """Write `<dest>/00000.tar`, … and sizes.json.

    A sample is an image, `.txt` (the primary text) and `.json`: key, sha256, url, width and height, named as by
    img2dataset, and `texts` of the sample, which has rows of `tables`.
    """

    def members(sample: ExportSample) -> Members:
        record = sample.record
        about = {name: getattr(record, name) for name in ("key", "sha256", "url", "width", "height")}
        body = {name: value for name, value in about.items() if value is not None} | dict(texts(sample))
        return ("txt", primary_text(record, dataset.primary).encode()), ("json", orjson.dumps(body))

    return export_samples(dataset, dest, options, members, tables=tables)


def export_samples(
    dataset: Dataset,
    dest: str,
    options: Options,
    members: Callable[[ExportSample], Members | str],
    *,
    tables: Tables | None = None,
    generations: Collection[str] | None = None,
    jpeg: bool = False,
) -> Exported:
    """Write `<dest>/00000.tar`, … and sizes.json. A sample is an image and `members`, or the reason for leaving it out.

    `tables` and `generations`: see `rows.ExportFiles`. `jpeg`: images of other formats become JPEGs.
    """
    store = begin(dataset, dest, options)
    left_out: Counter[str] = Counter()

    def samples() -> Iterator[tuple[str, Members]]:
        for shard in shards(dataset, options):
            found = rows_of(dataset, shard, tables or {})
            records = dataset.records(shard, options.split, generations=generations)
            for record, read in with_readers(dataset, shard, records):
                made = MISSING if read is None else members(sample_of(record, found))
                if read is None or isinstance(made, str):
                    left_out[str(made)] += 1
                else:
                    stored = read()
                    image = ImageFile("jpg", as_jpeg(stored, record)) if jpeg else stored
                    yield record.key, (image, *made)

    with removed_on_failure(store):
        sizes = write_tars(store, samples(), options.samples_per_shard or PER_TAR)
    if not sizes:
        reasons = ", ".join(f"{number_of(count, 'sample')}: {reason}" for reason, count in left_out.items())
        raise DatasetError(f"all samples of {dataset.name} are left out: {reasons}")
    return Exported(samples=sum(sizes.values()), files=len(sizes) + 1, left_out=left_out)


def write_tars(store: Store, samples: Iterable[tuple[str, Members]], per_tar: int) -> dict[str, int]:
    """Write tars of at most `per_tar` samples, then sizes.json. Returns the number of samples of each tar."""
    waiting = iter(samples)
    sizes: dict[str, int] = {}
    while (first := next(waiting, None)) is not None:
        name = f"{len(sizes):05d}.tar"
        with outfile(store, name, hashed=False) as sink:
            for n, (key, members) in enumerate(itertools.chain([first], itertools.islice(waiting, per_tar - 1)), 1):
                for piece in pieces(key, members):
                    sink.write(piece)
                sizes[name] = n
            sink.write(end_mark(sink.size))
    store.put("sizes.json", orjson.dumps(sizes, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return sizes


def arguments(dest: str, done: Exported, *, dataset_type: str = "--dataset-type") -> str:
    """The arguments to train from these tars. `dataset_type` is the trainer's option for the type of the dataset."""
    tars = done.files - 1
    numbers = "00000" if tars == 1 else f"{{00000..{tars - 1:05d}}}"
    path = shlex.quote(f"{files.absolute(dest).rstrip('/')}/{numbers}.tar")
    return f"{dataset_type} webdataset --train-data {path} --train-num-samples {done.samples}"


def loading_limit(done: Exported) -> str:
    """The number of processes that can load from these tars."""
    count = done.files - 1
    limit = f"tars: {count:,}, for at most {count:,} loading processes (workers x GPUs)"
    return f"{limit}; --samples-per-shard sets the size of a tar"


@dataclass(kw_only=True, slots=True)
class Found:
    """A sample of a tar: its suffixes in order, and the bytes of its text members."""

    where: str
    suffixes: list[str] = field(default_factory=list)
    texts: dict[str, bytes] = field(default_factory=dict)  # of json and txt
    empty_image: bool = False

    @property
    def has_image(self) -> bool:
        return any(suffix in IMAGES for suffix in self.suffixes)


def problems_in(
    path: str, check: Callable[[Found], Iterator[Finding]], *, loaders: int | None = None
) -> Iterator[Problem]:
    """The problems that any trainer has with the tars at `path`, and those that `check` finds in their samples.

    `path` is a tar, a pattern, a folder of tars, or an output or build in format webdataset (its train shards).
    Raises UserError if there are no tars.
    """
    tars = _tars(path)
    if loaders is not None and len(tars) < loaders:
        what = f"{number_of(len(tars), 'tar')} for {loaders} loading processes (workers x GPUs)"
        advice = (
            "Use fewer workers, or smaller shards (--samples-per-shard N of `recaption export`): each process "
            "reads whole tars, and trainers refuse fewer tars than processes"
        )
        yield from found_in(path, [(what, advice, "too few tars")])
    sizes: dict[str, dict[str, Any]] = {}
    for tar in tars:
        folder, _, name = tar.rpartition("/")
        if folder not in sizes:
            sizes[folder] = yield from _sizes(folder)
        count = 0
        try:
            for sample in _samples(tar):
                count += 1
                if sample.empty_image:
                    advice = "Leave the sample out; a trainer silently drops it"
                    yield from found_in(sample.where, [("the image has no bytes", advice, "empty image")])
                yield from found_in(sample.where, check(sample))
        except (BrokenTarError, SourceError, RecaptionError) as error:
            advice = "Write it again; a trainer silently skips the rest of a broken tar"
            yield from found_in(tar, [(str(error), advice, "broken tar")])
        yield from found_in(tar, _counted(name, count, sizes[folder]))


def _tars(path: str) -> list[str]:
    folder = files.absolute(path).rstrip("/")
    try:
        if not files.is_folder(folder):
            return [file.path for file in list_files(path, (".tar",))]
        for below in (folder, f"{folder}/data", f"{folder}/dataset/data"):
            tars = [file for file in files.entries(below) if file.endswith(".tar")] if files.is_folder(below) else []
            if tars:
                return tars
    except (SourceError, RecaptionError) as error:
        raise UserError(f"cannot check {path}: {str(error).removeprefix('source.path: ')}") from error
    raise UserError(f"cannot check {path}: there is no .tar. Give a folder of tars, a pattern, or a dataset's folder")


def _sizes(folder: str) -> Generator[Problem, None, dict[str, Any]]:
    """The number of samples of each tar, from the folder's sizes.json; {} if it cannot be read."""
    path = f"{folder}/sizes.json"
    if not files.is_file(path):
        advice = "Write it, or give the trainer --train-num-samples"
        yield from found_in(path, [("it is missing", advice, "no sizes.json", "warning")])
        return {}
    try:
        found = orjson.loads(files.read_all(path))
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict) and all(isinstance(n, int) for n in found.values()):
        return found
    what = "it is not a JSON object with the number of samples of each tar"
    advice = 'Write it like {"00000.tar": 5000}, or delete it and give --train-num-samples'
    yield from found_in(path, [(what, advice, "broken sizes.json")])
    return {}


def _counted(name: str, count: int, sizes: Mapping[str, Any]) -> Iterator[Finding]:
    if sizes and sizes.get(name) != count:
        recorded = f"has {sizes[name]:,}" if name in sizes else "does not list it"
        advice = "Correct sizes.json: the length of an epoch is computed from it"
        yield f"it has {number_of(count, 'sample')}, sizes.json {recorded}", advice, "wrong sizes.json"
    if count > PER_TAR:
        advice = f"{PER_TAR:,} are usual: with fewer and larger tars, loading processes are idle"
        yield f"{count:,} samples in a tar", advice, "large tar", "warning"


def _samples(tar: str) -> Iterator[Found]:
    """Adjacent members with equal names up to the first dot form a sample; a repeated suffix begins the next one."""
    sample: Found | None = None
    key = ""
    with files.open_stream(tar) as file:
        reader = TarReader(file, tar)
        for member in reader.members():
            name = split_name(member.name) if member.kind == "file" else None
            if name is None:
                continue
            suffix = name[1]
            if sample is None or name[0] != key or suffix in sample.suffixes:
                if sample is not None:
                    yield sample
                key, sample = name[0], Found(where=f"{tar}: {name[0]}")
            sample.suffixes.append(suffix)
            if suffix in ("json", "txt") and member.size <= _LARGEST:
                sample.texts[suffix] = b"".join(reader.pieces(member))
            elif suffix in IMAGES and member.size == 0:
                sample.empty_image = True
    if sample is not None:
        yield sample
