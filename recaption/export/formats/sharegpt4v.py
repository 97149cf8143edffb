"""ShareGPT4V's JSON list for CLIP models with long texts: Long-CLIP, HiMo-CLIP, β-CLIP, TULIP.

Read by beichenzbc/Long-CLIP, train/sharegpt4v.py (and by the others, in copies of it): the caption is
`conversations[1]["value"]`, with a space for each line end; the short caption is the text up to the first ". ". The
first 1,000 rows are the validation set, so fewer than 1,001 rows leave nothing to train on, without an error.

An opener ("The image shows") would be in every short caption, so it is removed from the first sentence. Short captions
that end at an abbreviation ("Dr. Smith") are counted. TULIP ends short captions at any full stop.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from recaption.export.base import Exported, Finding, Options, Usage, described, one_text
from recaption.export.dataset import SUB_CAPTIONS, Dataset, Select
from recaption.export.formats import llava
from recaption.export.formats.llava import conversation, plain
from recaption.export.json_list import list_problems
from recaption.export.rows import PLACE, ExportFiles, ExportSample, Made, Row, export_rows, json_list, path_of
from recaption.formatting import number_of
from recaption.problems import Problem
from recaption.text import fold
from recaption.types import Caption

WRITES: Final = "one JSON file with id, image (KEY.jpg), conversations; captions without openers"
READ_BY: Final = "Long-CLIP, HiMo-CLIP, β-CLIP, TULIP"
TEXTS: Final = {"caption": "long"}
FILE: Final = "sharegpt4v.json"
VALIDATION: Final = 1_000  # rows at the start that are not trained on
_OF_FIRST: Final = ("caption_id", "char_start", "char_end", "content_start")
FEWEST_WORDS: Final = 3  # of a short caption; with fewer, it has probably ended at an abbreviation


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. Raises UserError for fewer than 1,001 samples."""
    (generation,) = one_text(dataset, TEXTS, options).values()
    return export_captions(dataset, dest, options, generation, LAYOUT, lambda sample, caption: {})


LAYOUT: Final = ExportFiles(
    kinds={FILE: json_list},
    notes=(f"the first {VALIDATION:,} rows are the validation set",),
    least=VALIDATION + 1,
)


def export_captions(
    dataset: Dataset,
    dest: str,
    options: Options,
    generation: str,
    layout: ExportFiles,
    more: Callable[[ExportSample, Caption], Row | str],
) -> Exported:
    """Write the first file of `layout`, with the captions of a generation.

    `more` returns the other fields of a sample's row, or the reason why the sample is left out.
    """
    file = next(iter(layout.kinds))
    openers = early = 0

    def row(sample: ExportSample) -> Made | str:
        nonlocal openers, early
        caption = sample.caption(generation)
        if caption is None:
            return f"no text of {generation}"
        first = next(iter(sample.sub_captions(caption)), None)
        text = content(caption, first)
        if not text:
            return f"no text of {generation}"
        fields = more(sample, caption)
        if isinstance(fields, str):
            return fields
        openers += has_opener(first)
        early += ends_early(text, caption, first)
        return [(file, conversation(sample, "Describe the image in detail.", text) | fields)]

    long_clip = (
        f"Long-CLIP, HiMo-CLIP: in train/sharegpt4v.py, set data4v_root to {path_of(dest)}/, json_name to {file}, "
        f"image_root to {PLACE}/"
    )
    arguments = f"--dataset sharegpt4v --metadata {path_of(dest, file)} --root {PLACE}"
    layout = replace(
        layout,
        notes=(described({"caption": generation}), *layout.notes, long_clip),
        usage=(Usage(program="β-CLIP (all versions, to v1 of 2026-01)", arguments=arguments),),
        tables={**layout.tables, SUB_CAPTIONS: Select(columns=_OF_FIRST, generations={generation})},
        generations={generation},
    )
    done = export_rows(dataset, dest, options, layout, row)
    counts = f"openers removed: {openers:,}; short captions that end before their sentence does: {early:,}"
    return replace(done, notes=(*done.notes, counts))


def content(caption: Caption, first: Mapping[str, Any] | None) -> str:
    """The text of a caption in one line, without the opener of its first sub-caption."""
    if first is None or not has_opener(first):
        return plain(fold(caption.text))
    text = plain(fold(caption.text[first["content_start"] :]))
    return text[:1].upper() + text[1:]


def has_opener(first: Mapping[str, Any] | None) -> bool:
    """Whether the first sub-caption begins with an opener."""
    return first is not None and first["content_start"] > first["char_start"]


def short_caption(text: str) -> str:
    """The short caption that the trainers make of a text."""
    return text.replace("\n", " ").split(". ")[0]


def ends_early(text: str, caption: Caption, first: Mapping[str, Any] | None) -> bool:
    """Whether the short caption is shorter than the first sentence, for example because of an abbreviation."""
    if first is None:
        return False
    sentence = plain(fold(caption.text[first["content_start"] : first["char_end"]]))
    return len(short_caption(text)) < len(sentence.rstrip("."))


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. The file is read into memory, as in the trainers."""
    yield from list_problems(path, FORMAT, images)


def file_findings(rows: list[Any]) -> Iterator[Finding]:
    """The problems of all rows of a file."""
    if len(rows) <= VALIDATION:
        advice = f"Write at least {VALIDATION + 1:,}: the first {VALIDATION:,} are the validation set"
        yield f"{number_of(len(rows), 'row')}, so none is trained on", advice, "nothing to train on"
    yield from llava.file_findings(rows)


def row_findings(row: Any) -> Iterator[Finding]:
    """The problems of a row."""
    turns = row.get("conversations") if isinstance(row, dict) else None
    if not isinstance(turns, list) or len(turns) < 2 or not all(isinstance(turn, dict) for turn in turns[:2]):
        yield "it does not have two conversations", "Write a question and the caption", "no conversations"
        return
    text, image = turns[1].get("value"), row.get("image")
    if not isinstance(image, str) or not image:
        yield f"its image is {image!r}", "Write the path of the image", "no image"
    if not isinstance(text, str) or not text.strip():
        yield "conversations[1] has no text", "Leave the sample out", "no caption"
        return
    words = len(short_caption(text).split())
    if words < FEWEST_WORDS:
        advice = "Remove the first full stop: the short caption is the text up to the first full stop and space"
        yield f"its short caption is {short_caption(text)!r}", advice, "short caption ends early", "warning"


FORMAT: Final = replace(llava.FORMAT, check=row_findings, check_file=file_findings)
