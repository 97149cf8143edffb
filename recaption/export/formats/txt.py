"""Images with a text file of the same name beside each, the format of most fine-tuning programs.

Read by kohya-ss/sd-scripts, library/train_util.py (`caption_extension`: the first line, or with `enable_wildcard` a
random one; `--train_data_dir` reads only subfolders named N_NAME, so a `--dataset_config` names the folder),
musubi-tuner, OneTrainer (a random line), ai-toolkit and SimpleTuner (`caption_strategy: textfile`). A line is a
caption, so a line end in a caption becomes a space.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Final

from recaption.errors import RecaptionError, UserError
from recaption.export.base import (
    IMAGES,
    Exported,
    Finding,
    Options,
    described,
    found_in,
    named,
    one_text,
    require_samples,
    shards,
)
from recaption.export.dataset import SUB_CAPTIONS, Dataset, Select
from recaption.export.image_files import MISSING, local_images, make_folder, put_text
from recaption.export.rows import PLACE, Add, ExportFiles, ExportSample, Made, Tables, export_rows, rows_of, sample_of
from recaption.imagefile import LOADED_SUFFIXES
from recaption.io import files
from recaption.io.store import LocalStore, Store
from recaption.problems import Problem
from recaption.text import fold
from recaption.types import Caption, Record, SubCaption

WRITES: Final = f"{IMAGES}/KEY.jpg and {IMAGES}/KEY.txt with a caption, several, or a list of tags"
READ_BY: Final = "sd-scripts, musubi-tuner, OneTrainer, ai-toolkit, SimpleTuner"
TEXTS: Final = {"caption": "long"}
_USAGE: Final = (
    "sd-scripts: in a [[datasets.subsets]] of its --dataset_config, set image_dir to {folder} "
    "and caption_extension to .txt"
)
_OF_TAGS: Final = Select(columns=("sub_id", "lemma", "kind"))
_OF_SUBS: Final = tuple(field.name for field in fields(SubCaption))
FILES: Final = f"{IMAGES}/KEY.txt"


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. `options.captions` chooses the content of the text files.

    Images are written by default. With `options.in_place`, text files are written beside the source's images.
    """
    if options.captions == "lines" and options.map:
        raise UserError("--map is for --captions one and tags; with lines, all captions are used. Leave out --map")
    sources = {} if options.captions == "lines" else one_text(dataset, TEXTS, options)
    texts = _Texts(
        tables={"one": {}, "tags": {"tags": _OF_TAGS}, "lines": {SUB_CAPTIONS: Select()}}[options.captions],
        generations=set(sources.values()) or None,
        of=partial(_text, options, sources.get("caption", "")),
    )
    notes = [described(sources)] if sources else []
    if options.in_place:
        return _export_in_place(dataset, dest, options, texts, notes)
    options = replace(options, images=options.images or "jpg")
    layout = ExportFiles(
        kinds={FILES: text_files},
        tables=texts.tables,
        generations=texts.generations,
        in_images=True,
        notes=(*notes, _USAGE.format(folder=PLACE)),
    )

    def row(sample: ExportSample) -> Made | str:
        text = texts.of(sample)
        return [(FILES, (sample.record.key, text))] if text else f"no text for --captions {options.captions}"

    done = export_rows(dataset, dest, options, layout, row)
    return replace(done, files=done.samples)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Texts:
    """What is read of the samples, and the content of the text file of one; "" if it has none."""

    tables: Tables
    generations: Collection[str] | None
    of: Callable[[ExportSample], str]


def _text(options: Options, generation: str, sample: ExportSample) -> str:
    if options.captions == "one":
        lines: Iterable[str] = [sample.record.texts().get(generation, "")]
    elif options.captions == "tags":
        lines = [", ".join(_objects(sample, generation))]
    else:
        lines = options.draw(_with_sub_captions(sample))
    return "\n".join(dict.fromkeys(filter(None, map(fold, lines))))


def _objects(sample: ExportSample, generation: str) -> Iterable[str]:
    """The objects of a caption, each once, in the order of the text."""
    caption = sample.caption(generation)
    own = "" if caption is None else f"{caption.caption_id}#"
    tags = (tag for tag in sample.tables["tags"] if own and tag["sub_id"].startswith(own))
    return dict.fromkeys(tag["lemma"] for tag in tags if tag["kind"] == "object")


def _export_in_place(dataset: Dataset, dest: str, options: Options, texts: _Texts, notes: Sequence[str]) -> Exported:
    """Write the text files beside the images of the source, which have to be below the folder `dest`.

    Each file appears whole; if the export fails, the same command continues it. Raises UserError before anything is
    written if a file has other contents and is not to be overwritten, or if two images have the same text file.
    """
    if options.with_images:
        raise UserError(f"--images {options.images} is not for --in-place: the images stay as they are")
    require_samples(dataset, options)
    folder = Path(files.absolute(dest))
    images: dict[Path, Path] = {}
    other: list[Path] = []
    left_out: Counter[str] = Counter()
    for image, text in _beside(dataset, folder, options, texts):
        if image is None or not text:
            left_out[MISSING if image is None else f"no text for --captions {options.captions}"] += 1
            continue
        file = image.with_suffix(".txt")
        if images.setdefault(file, image) != image:
            raise UserError(f"{file} would be the text of both {images[file]} and {image}; rename one of them")
        if file.exists() and file.read_bytes() != text.encode():
            other.append(file)
    if other and not options.overwrite:
        raise UserError(
            f"text files that exist with other contents: {len(other):,}, for example {other[0]}. To replace them, add "
            "--overwrite; to keep them, export into a new folder without --in-place"
        )
    store = LocalStore(folder)
    for image, text in _beside(dataset, folder, options, texts):
        if image is not None and text:
            store.put(str(image.with_suffix(".txt").relative_to(folder)), text.encode())
    usage = _USAGE.format(folder=shlex.quote(str(folder)))
    return Exported(samples=len(images), files=len(images), left_out=left_out, notes=(*notes, usage))


def _beside(dataset: Dataset, folder: Path, options: Options, texts: _Texts) -> Iterator[tuple[Path | None, str]]:
    """The image file of each sample, None if it is missing, and its text.

    Raises UserError if an image is not below the folder, or not a file.
    """
    for shard in shards(dataset, options):
        found = rows_of(dataset, shard, texts.tables)
        image_of = local_images(dataset, shard, "--in-place", "export into a new folder without it")
        for record in dataset.records(shard, options.split, generations=texts.generations):
            path = image_of(record)
            if path is not None and not path.is_relative_to(folder):
                raise UserError(f"--in-place: {path} is not below {folder}; name the folder of the images as DEST")
            yield path, texts.of(sample_of(record, found))


def _with_sub_captions(sample: ExportSample) -> Record:
    """The record with its sub-captions, without tags."""

    def full(caption: Caption) -> Caption:
        rows = sample.sub_captions(caption)
        subs = (SubCaption(**{name: row[name] for name in _OF_SUBS if name in row}) for row in rows)
        return replace(caption, sub_captions=tuple(subs))

    return replace(sample.record, captions=tuple(map(full, sample.record.captions)))


@contextmanager
def text_files(store: Store, path: str) -> Iterator[Add]:
    """Files in the folder of the images; each row is the name of a file, without its suffix, and its text."""
    folder = store.local(IMAGES)
    if folder is not None:
        make_folder(folder)

    def add(row: tuple[str, str]) -> None:
        name, text = row
        put_text(store, f"{IMAGES}/{name}.txt", text)

    yield add


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. `path` is the folder with the images, or the one above it."""
    found = named(path, tuple(sorted({*LOADED_SUFFIXES, ".txt"})), (IMAGES, ""))
    texts = {file.removesuffix(".txt") for file in found if file.endswith(".txt")}
    pictures = {file.rpartition(".")[0] for file in found if not file.endswith(".txt")}
    yield from _unpaired(texts, pictures)
    for stem in sorted(texts):
        yield from found_in(f"{stem}.txt", _text_findings(f"{stem}.txt"))


def _unpaired(texts: Iterable[str], pictures: Iterable[str]) -> Iterator[Problem]:
    texts, pictures = set(texts), set(pictures)
    for stem in sorted(texts - pictures):
        advice = "Put the image beside it, under the same name"
        yield from found_in(f"{stem}.txt", [("it has no image", advice, "text without image")])
    for stem in sorted(pictures - texts):
        advice = "Write a .txt beside it, or remove the image: most programs train it with an empty text"
        yield from found_in(stem, [("the image has no .txt", advice, "image without text", "warning")])


def _text_findings(file: str) -> Iterator[Finding]:
    try:
        text = files.read_all(file).decode()
    except (RecaptionError, UnicodeDecodeError) as error:
        yield f"it cannot be read: {error}", "Write it as UTF-8", "broken text"
        return
    lines = text.splitlines()
    if not text.strip():
        yield "it is empty", "Write a caption, or remove the image", "empty text"
    elif not all(line.strip() for line in lines):
        yield "it has an empty line", "Remove it: programs that draw a random line may draw it", "empty line", "warning"
