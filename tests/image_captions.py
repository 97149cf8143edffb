"""Scores of `is_meta` and `dup_of` on captions of images by several models, whose texts are not in the repository.

`annotate/real/images.jsonl` has one line per image: the part (`dev`, which rules were made on, `train`, which only
weights were trained on, or `heldout`, which is only scored), the set, the captions (model, sha256 of the normalised
text, spans of the sub-captions) and the labels of each reader: number of the sub-caption among all of the image -> M or
m (no content; m is debatable), R<k> or r<k> (it repeats sub-caption k). `annotate/real/README.md` says where the texts
come from.

    python tests/image_captions.py FOLDER     # the folder with the texts: *.jsonl with a field text or caption
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from real_captions import texts

from recaption.annotate import Annotator
from recaption.config import Annotate
from recaption.types import Caption

LABELS = Path(__file__).parent / "annotate" / "real" / "images.jsonl"
KINDS = {"dup_of": "R", "is_meta": "M"}


@dataclass
class Score:
    """Counts of sub-captions. `right` and `debatable` are those with the flag; the rest of them is wrong."""

    flagged: int = 0
    right: int = 0
    debatable: int = 0
    labelled: int = 0

    def __str__(self) -> str:
        certain = self.flagged - self.debatable
        found = f"{self.right}/{self.labelled}"
        return f"precision {self.right}/{self.flagged}, without debatable {self.right}/{certain}, recall {found}"


def entries() -> list[dict[str, Any]]:
    return [json.loads(line) for line in LABELS.read_text("utf-8").splitlines()]


def certainty(readers: list[dict[str, list[str]]], number: int, letter: str) -> float:
    """0 (it does not apply) to 1, the mean over the readers; a debatable case counts half."""
    values = []
    for labels in readers:
        letters = {label[0] for label in labels.get(str(number), [])}
        values.append(1.0 if letter in letters else 0.5 if letter.lower() in letters else 0.0)
    return sum(values) / len(values)


def add(score: Score, certain: float, flagged: bool) -> None:
    """Count a sub-caption. A mean certainty of one half is debatable."""
    score.flagged += flagged
    score.right += flagged and certain > 0.5
    score.debatable += flagged and certain == 0.5
    score.labelled += certain > 0.5


def images_of(known: dict[str, str], found: list[dict[str, Any]]) -> Iterator[list[Caption]]:
    for number, entry in enumerate(found):
        captions = []
        for at, caption in enumerate(entry["captions"]):
            text = known.get(caption["sha256"])
            if text is None:
                raise SystemExit(f"no caption in the folder has the sha256 {caption['sha256']}")
            model = caption["model"]
            named = {"caption_id": f"{number}/{model}/{at}", "generation": model, "source": "m:p"}
            captions.append(Caption(**named, granularity="long", text=text, finish_reason="stop"))
        yield captions


def scores(folder: Path) -> dict[tuple[str, str, str], Score]:
    """(part, set, flag) -> its score, of the sets of which the folder has a text. Exits if it lacks other texts of such
    a set, or if a caption is cut in another way than it was labelled."""
    known, out = texts(folder), defaultdict[tuple[str, str, str], Score](Score)
    sets = {entry["set"] for entry in entries() if any(caption["sha256"] in known for caption in entry["captions"])}
    found = [entry for entry in entries() if entry["set"] in sets]
    for entry, captions in zip(found, Annotator(Annotate()).annotate(list(images_of(known, found))), strict=True):
        subs = [sub for caption in captions for sub in caption.sub_captions]
        spans = [span for caption in entry["captions"] for span in caption["spans"]]
        if [[sub.char_start, sub.char_end] for sub in subs] != spans:
            raise SystemExit(f"{captions[0].caption_id}: the sub-captions are not those that were labelled")
        for number, sub in enumerate(subs):
            for flag, letter in KINDS.items():
                score = out[entry["part"], entry["set"], flag]
                add(score, certainty(entry["readers"], number, letter), bool(getattr(sub, flag)))
    return out


if __name__ == "__main__":
    for (part, name, flag), score in sorted(scores(Path(sys.argv[1])).items(), key=lambda item: item[0][::-1]):
        print(f"{flag:8} {part:8} {name:8} {score}")
