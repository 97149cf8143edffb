"""LLaVA: a JSON list with one conversation per sample: a question about the image, and the caption as the answer.

Read by haotian-liu/LLaVA, llava/train/train.py (LazySupervisedDataset, preprocess_multimodal; docs/
Finetune_Custom_Data.md): `image` is a path below --image_folder; human and gpt take turns; `<image>` stands for the
image in any turn, answers included, and `</s>` ends a round. In a caption, such tokens are replaced by a space. The
question is a fixed one instead of the prompt, which may contain columns of the source.
"""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from recaption.export.base import Exported, Options, begin, described, one_text, records, refuse_shard_size, rotated
from recaption.export.dataset import Dataset
from recaption.export.json_list import is_relative, read_lists, repeated, write_list
from recaption.io import files
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
    question = f"{IMAGE}\n{_QUESTIONS.get(dataset.granularities.get(generation, ''), 'Describe the image.')}"
    refuse_shard_size(options, FILE)
    store = begin(dataset, dest, options)
    left_out: Counter[str] = Counter()

    def rows() -> Iterator[dict[str, Any]]:
        for record in records(dataset, options):
            answer = _TOKENS.sub(" ", record.texts().get(generation, "")).strip()
            if not answer:
                left_out[f"no text of {generation}"] += 1
                continue
            turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
            yield {"id": record.key, "image": f"{record.key}.jpg", "conversations": turns}

    written = write_list(store, FILE, rows())
    path = shlex.quote(f"{files.absolute(dest).rstrip('/')}/{FILE}")
    flags = f"--data_path {path} --image_folder FOLDER  # FOLDER has the unpacked images, KEY.jpg"
    notes = (described({"caption": generation}), flags, *rotated(dataset))
    return Exported(samples=written, files=1, left_out=left_out, notes=notes)


def validate(path: str, *, loaders: int | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. The file is read into memory, as in the trainer."""
    for file, rows in read_lists(path, ".json", "Write one JSON list of samples"):
        if isinstance(rows, Problem):
            yield rows
            continue
        for n, row in enumerate(rows):
            for what, advice, kind in _row_problems(row):
                yield Problem(where=f"{file}: sample {n}", what=what, advice=advice, kind=kind)
        yield from repeated(file, rows, "id", "Give every sample a unique id; trainers ignore it, joins do not")


def _row_problems(row: Any) -> Iterator[tuple[str, str, str]]:
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
