"""Monkey: conversations for its training, detailed captions, and the descriptions of regions that they are made from.

Read by Yuliang-Liu/Monkey, finetune_multitask.py, preprocess: two turns per row, whose texts are joined without any
separator; the image is a path or URL between `<img>` and `</img>`, opened from the folder where the training starts.
The question is that of its inference.py for detailed captions. data_generation/chatgpt.py reads ann_all.json, where
each image has the four texts of data_generation/add_all_json.py; there, an image that is missing in one of its
files causes a KeyError. `detailed_caption.json` is the data that Monkey published
(huggingface.co/datasets/echo840/Detailed_Caption).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from operator import methodcaller
from typing import Any, Final

from recaption.export.base import OF_PARTS, Exported, Finding, Options, Usage, described, lacking, named, one_text
from recaption.export.dataset import Dataset, Rows
from recaption.export.json_list import ListFormat, file_problems, repeated
from recaption.export.needs import OCR, REGIONS, maker, texts_only
from recaption.export.rows import ExportFiles, ExportSample, Made, Row, export_rows, json_list, path_of
from recaption.formatting import number_of
from recaption.problems import Problem
from recaption.text import fold

WRITES: Final = "monkey.json with conversations, detailed_caption.json; ann_all.json if the build has regions"
READ_BY: Final = "Monkey"
TEXTS: Final = {"caption": "long"}
NEEDS: Final = (REGIONS, OCR)
FILE: Final = "monkey.json"
DETAILED: Final = "detailed_caption.json"
ALL: Final = "ann_all.json"
QUESTION: Final = "Generate the detailed caption in English: "
_TOKENS: Final = re.compile(r"</?(?:img|ref|box|quad)>|<\|endoftext\|>|<\|im_(?:start|end)\|>")
_TEXTS_OF_ALL: Final = ("blip2cap", "grit", "ocr", "sam_blip")


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. ann_all.json has the phrases of regions and their captions."""
    makers = {need.table: found for need in NEEDS if (found := maker(dataset, options, need)) is not None}
    options = texts_only(options, *NEEDS)
    (generation,) = one_text(dataset, TEXTS, options).values()

    def row(sample: ExportSample) -> Made | str:
        text = fold(_TOKENS.sub(" ", sample.record.texts().get(generation, "")))
        if not text:
            return f"no text of {generation}"
        made: list[tuple[str, Any]] = [(FILE, _conversation(sample, text))]
        made.append((DETAILED, {"img_id": sample.image, "detailed_caption": text}))
        return [*made, (ALL, _all_of(sample, text))] if REGIONS.table in makers else made

    kinds = {FILE: json_list, DETAILED: json_list, **({ALL: json_list} if REGIONS.table in makers else {})}
    usage = Usage(program="Monkey (all versions, to main of 2025-07)", arguments=f"--data_path {path_of(dest, FILE)}")
    layout = ExportFiles(
        kinds=kinds,
        notes=(described({"caption": generation, **makers}),),
        usage=(usage,),
        tables={need.table: need.made_by(makers[need.table]) for need in NEEDS if need.table in makers},
        generations={generation},
        granularities=("short", *OF_PARTS) if REGIONS.table in makers else (),
    )
    return export_rows(dataset, dest, options, layout, row)


def _conversation(sample: ExportSample, text: str) -> Row:
    turns = [{"from": "user", "value": f"<img>{sample.path}</img> {QUESTION}"}, {"from": "assistant", "value": text}]
    return {"id": sample.record.key, "conversations": turns}


def _all_of(sample: ExportSample, text: str) -> Row:
    """The four texts of an image. A text is empty if nothing was found for it."""
    short = next((caption.text for caption in sample.record.captions if caption.granularity == "short"), text)
    regions = {row["region_id"]: row for row in sample.tables[REGIONS.table] if not row["is_point"]}
    boxes = placed((row["phrase"], row) for row in regions.values())
    captions = ((caption.text, regions.get(caption.region_id)) for caption in sample.record.captions)
    ocr = placed((row["text"], row) for row in sample.tables.get(OCR.table, Rows()))
    of_regions = placed((text, row) for text, row in captions if row is not None)
    return {"img_id": sample.image, "blip2cap": fold(short), "grit": boxes, "ocr": ocr, "sam_blip": of_regions}


def placed(texts: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """Texts with their boxes, as Monkey joins them: `a kite: [0.1, 0.2, 0.3, 0.4]; `, in shares of the image."""
    return "".join(
        f"{fold(text)}: {[round(row[name], 3) for name in ('x0', 'y0', 'x1', 'y1')]}; " for text, row in texts
    )


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`: the folder, or one of its files."""
    for file in named(path, ".json"):
        name = file.rpartition("/")[2]
        form = {DETAILED: _LIST, ALL: _FOUR}.get(name, _CONVERSATIONS)
        yield from file_problems(file, form, images)


def _conversation_findings(row: Any) -> Iterator[Finding]:
    turns = row.get("conversations") if isinstance(row, dict) else None
    if not isinstance(turns, list) or len(turns) < 2:
        yield "it does not have two conversations", "Write a question and the caption (IndexError)", "no conversations"
        return
    if any(lacking(turn, ["value"]) or not turn["value"].strip() for turn in turns[:2]):
        yield "a turn has no text", "Write a text `value` in both", "turn without text"
        return
    question, answer = turns[0]["value"], turns[1]["value"]
    found = re.findall(r"<img>(.*?)</img>", question)
    if len(found) != 1 or question.count("<img>") != 1:
        yield f"its question has {number_of(len(found), 'image')}", "Write <img>PATH</img> once", "wrong image tags"
    if _TOKENS.search(answer):
        yield "its answer has a special token", "Remove it: it changes the number of images", "token in the answer"
    if not question.endswith((" ", "\n")):
        advice = "End it with a space: the texts of the turns are joined without one"
        yield "its question does not end with a space", advice, "texts are joined", "warning"


def _fields_findings(fields: tuple[str, ...], empty: bool, row: Any) -> Iterator[Finding]:
    """`empty`: texts may be empty."""
    missing = lacking(row, ("img_id", *fields))
    if missing:
        advice = "Write it; the text may be empty (KeyError)"
        yield f"it has no string {', '.join(missing)}", advice, "missing text"
    elif not empty and not all(row[name].strip() for name in fields):
        yield "its caption is empty", "Leave the sample out", "empty text"


def _unique(rows: list[Any]) -> Iterator[Finding]:
    yield from repeated(rows, "img_id", "Use each id once: the files are joined by it")


def _conversations_unique(rows: list[Any]) -> Iterator[Finding]:
    yield from repeated(rows, "id", "Give every sample a unique id")


def _image(row: Row) -> str | None:
    """The path in a conversation; None if there is none."""
    found = re.search(r"<img>(.*?)</img>", str(row.get("conversations")))
    return found[1] if found else None


_CONVERSATIONS: Final = ListFormat(check=_conversation_findings, check_file=_conversations_unique, image=_image)
_LIST: Final = ListFormat(
    check=partial(_fields_findings, ("detailed_caption",), False),
    check_file=_unique,
    image=methodcaller("get", "img_id"),
)
_FOUR: Final = replace(_LIST, check=partial(_fields_findings, _TEXTS_OF_ALL, True))
