"""Images with a text file of the same name beside each, the format of most fine-tuning programs.

Read by kohya-ss/sd-scripts, library/train_util.py (`caption_extension`: the first line, or with `enable_wildcard` a
random one; `--train_data_dir` reads only subfolders named N_NAME, so a `--dataset_config` names the folder),
musubi-tuner, OneTrainer (a random line), ai-toolkit and SimpleTuner (`caption_strategy: textfile`). A line is a
caption, so a line end in a caption becomes a space.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
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
)
from recaption.export.dataset import SUB_CAPTIONS, Dataset, Select
from recaption.export.image_files import make_folder, put_text
from recaption.export.rows import PLACE, Add, Layout, Made, Sample, export_rows
from recaption.imagefile import LOADED_SUFFIXES
from recaption.io import files
from recaption.io.store import Store
from recaption.problems import Problem
from recaption.text import fold
from recaption.types import Caption, Record, SubCaption

WRITES: Final = f"{IMAGES}/KEY.jpg and {IMAGES}/KEY.txt with a caption, several, or a list of tags"
READ_BY: Final = "sd-scripts, musubi-tuner, OneTrainer, ai-toolkit, SimpleTuner"
TEXTS: Final = {"caption": "long"}
_OF_SUBS: Final = tuple(field.name for field in fields(SubCaption))
FILES: Final = f"{IMAGES}/KEY.txt"


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. `options.captions` chooses the content of the text files. There are always images."""
    options = replace(options, images="jpg" if options.images == "none" else options.images)
    sources = one_text(dataset, TEXTS, options) if options.captions == "one" else {}
    if not sources and options.map:
        raise UserError(f"--map is for --captions one; with {options.captions}, all captions are used. Leave it out")

    def row(sample: Sample) -> Made | str:
        if options.captions == "one":
            lines: Iterable[str] = [sample.record.texts().get(sources["caption"], "")]
        elif options.captions == "tags":
            lines = [", ".join(dict.fromkeys(t["lemma"] for t in sample.tables["tags"] if t["kind"] == "object"))]
        else:
            lines = options.draw(_with_sub_captions(sample))
        text = "\n".join(dict.fromkeys(filter(None, map(fold, lines))))
        return [(FILES, (sample.record.key, text))] if text else f"no text for --captions {options.captions}"

    tables = {
        "one": {},
        "tags": {"tags": Select(columns=("lemma", "kind"))},
        "lines": {SUB_CAPTIONS: Select()},
    }[options.captions]
    usage = f"sd-scripts: in a [[datasets.subsets]] of its --dataset_config, set image_dir to {PLACE} "
    usage += "and caption_extension to .txt"
    layout = Layout(
        kinds={FILES: text_files},
        tables=tables,
        generations=set(sources.values()) if options.captions == "one" else None,
        notes=(*((described(sources),) if sources else ()), usage),
    )
    done = export_rows(dataset, dest, options, layout, row)
    return replace(done, files=done.samples)


def _with_sub_captions(sample: Sample) -> Record:
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
