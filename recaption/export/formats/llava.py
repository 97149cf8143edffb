"""LLaVA: a JSON list with one conversation per sample: a question about the image, and the caption as the answer.

Read by haotian-liu/LLaVA, llava/train/train.py (LazySupervisedDataset, preprocess_multimodal; docs/
Finetune_Custom_Data.md): `image` is a path below --image_folder; human and gpt take turns; `<image>` stands for the
image in any turn, answers included, and `</s>` ends a round. In a caption, such tokens are replaced by a space. The
question is fixed. The prompt is not used, because it may contain columns of the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from operator import methodcaller
from typing import Any, Final

from recaption.export.base import Exported, Finding, Options, Usage, described, is_relative, one_text
from recaption.export.dataset import Dataset
from recaption.export.json_list import ListFormat, list_problems, repeated
from recaption.export.rows import PLACE, ExportFiles, ExportSample, Made, Row, export_rows, json_list, path_of
from recaption.problems import Problem
from recaption.text import fold

WRITES: Final = "one JSON file with id, image (KEY.jpg), conversations"
READ_BY: Final = "LLaVA and trainers with its format"
TEXTS: Final = {"caption": "long"}
FILE: Final = "llava.json"
IMAGE: Final = "<image>"
_QUESTIONS: Final = {"short": "Describe the image briefly.", "long": "Describe the image in detail."}
_TOKENS: Final = re.compile(r"<image>|</?s>|<im_(?:start|end|patch)>")


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`."""
    (generation,) = one_text(dataset, TEXTS, options).values()
    question = question_for(dataset.granularities.get(generation))

    def row(sample: ExportSample) -> Made | str:
        answer = plain(sample.record.texts().get(generation, ""))
        if not answer:
            return f"no text of {generation}"
        return [(FILE, conversation(sample, question, answer))]

    notes = (described({"caption": generation}),)
    usage = Usage(program="LLaVA (all versions, to main of 2024-05)", arguments=arguments(dest, FILE))
    layout = ExportFiles(kinds={FILE: json_list}, notes=notes, usage=(usage,), generations={generation})
    return export_rows(dataset, dest, options, layout, row)


def question_for(granularity: str | None) -> str:
    """A question whose answer is a caption of this granularity."""
    return _QUESTIONS.get(granularity or "", "Describe the image.")


def plain(text: str) -> str:
    """A caption without the tokens that stand for an image or the end of a round."""
    return _TOKENS.sub(" ", text).strip()


def conversation(sample: ExportSample, question: str, answer: str) -> Row:
    """A sample with one question about the image."""
    turns = [{"from": "human", "value": f"{IMAGE}\n{question}"}, {"from": "gpt", "value": answer}]
    return {"id": sample.record.key, "image": sample.image, "conversations": turns}


def arguments(dest: str, file: str = "") -> str:
    """The arguments of LLaVA's training for a file of the export, or for its folder."""
    return f"--data_path {path_of(dest, file)} --image_folder {PLACE}"


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. The file is read into memory, as in the trainer."""
    yield from list_problems(path, FORMAT, images)


def file_findings(rows: list[Any]) -> Iterator[Finding]:
    """The problems of all rows of a file."""
    yield from repeated(rows, "id", "Give every sample a unique id; trainers ignore it, joins do not")


def row_findings(row: Any) -> Iterator[Finding]:
    """The problems of a row."""
    turns = row.get("conversations") if isinstance(row, dict) else None
    if not isinstance(turns, list) or not turns:
        yield "it has no list `conversations`", "Write turns of human and gpt", "no conversations"
        return
    if not all(isinstance(t, dict) and isinstance(t.get("value"), str) for t in turns):
        yield "a turn has no string `value`", "Write from and value, both strings", "turn without text"
        return
    roles = [turn.get("from") for turn in turns]
    if len(roles) % 2 or roles != ["human", "gpt"] * (len(roles) // 2):
        order = ", ".join(map(str, roles[:4]))
        yield f"its turns are from {order}", "Alternate human and gpt, human first (AssertionError)", "wrong turns"
    if any(not fold(turn["value"]) for turn in turns):
        yield "a turn is empty", "Leave the sample out", "empty turn"
    image = row.get("image")
    counts = [turn["value"].count(IMAGE) for turn in turns]
    if image is None:
        if any(counts):
            yield f"it has no image, but {IMAGE} in a turn", "Add the image, or remove the token", "token without image"
        return
    if not is_relative(image):
        yield f"its image is {image!r}", "Write a path below --image_folder", "image is not a relative path"
    if counts[0] != 1 or any(counts[1:]):
        yield (
            f"{IMAGE} occurs {', '.join(map(str, counts))} times in its turns",
            "Write it once, in the first question: each occurrence, also in an answer, stands for the image",
            "wrong image tokens",
        )


FORMAT: Final = ListFormat(check=row_findings, check_file=file_findings, image=methodcaller("get", "image"))
