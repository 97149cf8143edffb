"""LLaVA: a JSON list with one conversation per sample: a question about the image, and the caption as the answer.

Read by haotian-liu/LLaVA, llava/train/train.py (LazySupervisedDataset, preprocess_multimodal; docs/
Finetune_Custom_Data.md): `image` is a path below --image_folder; human and gpt take turns; `<image>` stands for the
image in any turn, answers included, and `</s>` ends a round. In a caption, such tokens are replaced by a space. The
question is a fixed one instead of the prompt, which may contain columns of the source.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from recaption.export.base import Exported, Finding, Options, is_relative, one_text
from recaption.export.dataset import Dataset
from recaption.export.json_list import Row, export_list, list_problems, repeated
from recaption.problems import Problem
from recaption.text import fold
from recaption.types import Record

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
    question = f"{IMAGE}\n{_QUESTIONS.get(dataset.granularities.get(generation, ''), 'Describe the image.')}"

    def row(record: Record) -> Row | str:
        answer = _TOKENS.sub(" ", record.texts().get(generation, "")).strip()
        if not answer:
            return f"no text of {generation}"
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        return {"id": record.key, "image": f"{record.key}.jpg", "conversations": turns}

    return export_list(
        dataset,
        dest,
        options,
        file=FILE,
        sources={"caption": generation},
        row=row,
        program="LLaVA (main of 2024-05)",
        arguments="--data_path {path} --image_folder FOLDER",
    )


def validate(path: str, *, loaders: int | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. The file is read into memory, as in the trainer."""
    yield from list_problems(path, ".json", "Write one JSON list of samples", _row_findings, _file_findings)


def _file_findings(rows: list[Any]) -> Iterator[Finding]:
    yield from repeated(rows, "id", "Give every sample a unique id; trainers ignore it, joins do not")


def _row_findings(row: Any) -> Iterator[Finding]:
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
