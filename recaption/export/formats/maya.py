"""Maya: a folder with a JSON list of LLaVA's conversations for each language.

Read by nahidalam/maya, llava/train/train.py, LazySupervisedDataset: all .json files of the folder are joined and
shuffled. Pretraining (preprocess_plain) takes two turns, of which the first is replaced by the image. An
image that is missing is replaced by the next one, with a message only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from recaption.export.base import Exported, Finding, Options, Usage, described, one_text, refuse_fill
from recaption.export.dataset import Dataset
from recaption.export.formats import llava
from recaption.export.formats.llava import arguments, conversation, plain, question_for
from recaption.export.json_list import list_problems
from recaption.export.needs import require_translations
from recaption.export.rows import ExportFiles, ExportSample, Made, export_rows, json_list
from recaption.problems import Problem

WRITES: Final = "one JSON file per language with id, image (KEY.jpg), conversations"
READ_BY: Final = "Maya"
TEXTS: Final = {"caption": "long"}


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`: a caption and its translations. A caption of unknown language is in en.json."""
    refuse_fill(options)
    require_translations(dataset)
    (generation,) = one_text(dataset, TEXTS, options).values()
    question = question_for(dataset.granularities.get(generation))

    def row(sample: ExportSample) -> Made | str:
        source = sample.caption(generation)
        if source is None or not plain(source.text):
            return f"no text of {generation}"
        made = {(source.lang or "en"): plain(source.text)}
        for caption in sample.record.captions:
            if caption.translated_from == source.caption_id and caption.lang and plain(caption.text):
                made.setdefault(caption.lang, plain(caption.text))
        return [(f"{lang}.json", conversation(sample, question, text)) for lang, text in made.items()]

    usage = Usage(program="Maya (all versions, to main of 2025-08)", arguments=arguments(dest))
    layout = ExportFiles(kinds={"en.json": json_list}, notes=(described({"caption": generation}),), usage=(usage,))
    return export_rows(dataset, dest, options, layout, row)


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. All .json files of a folder are read, as in the trainer."""
    yield from list_problems(path, replace(llava.FORMAT, check=_row_findings), images)


def _row_findings(row: Any) -> Iterator[Finding]:
    yield from llava.row_findings(row)
    turns = row.get("conversations") if isinstance(row, dict) else None
    if isinstance(turns, list) and len(turns) > 2:
        advice = "Write one question and one answer; more turns are for the second stage"
        yield f"it has {len(turns)} turns", advice, "more than two turns", "warning"
