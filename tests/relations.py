"""Labelled relations and attributes, and the score of the tables `triples` and `attribute_pairs` on them.

`annotate/real/triples.jsonl` has those of 150 real sentences, without their texts: one line per sentence, with the
sha256 of its caption's normalised text, the part, the sentence's span, and the spans of subject, relation and object.
Subjects and objects are the last words of their nouns. For scenes, the truth follows from the scene.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotation_scores import Tally
from real_captions import texts

from recaption.annotate import Annotator
from recaption.config import Annotate
from recaption.demo.scenes import Scene, SceneObject, sample_scene
from recaption.types import Caption
from training.scene import captions as grammar

LABELS = Path(__file__).parent / "annotate" / "real" / "triples.jsonl"
Span = tuple[int, int]
Triple = tuple[int, Span, int]
"""Ends of the subject's and object's nouns, and the relation."""
Pair = tuple[int, Span]
"""End of the object's noun, and the attribute."""
_THINGS = {"tablecloth": ("checkered", "tablecloth"), "wood": ("wooden", "table top")}
"""Backgrounds that are things, with their attribute."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A sentence or a caption: what is in `span` of the text has these relations and attributes."""

    text: str
    span: Span
    triples: tuple[Triple, ...]
    pairs: tuple[Pair, ...] | None = None  # None: not labelled


def tables_annotator(*names: str) -> Annotator:
    """An annotator that makes these tables."""
    return Annotator(Annotate(tables=names))


def scores(labelled: Sequence[Labelled], annotator: Annotator) -> dict[str, Tally]:
    """`triples`: all three spans are those of the label; `ends`: subject and object are; `pairs`."""
    captions = [
        [Caption(caption_id=f"{n}/c/0", generation="c", source="m:p", granularity="long", text=one.text)]
        for n, one in enumerate(labelled)
    ]
    made = annotator.annotate_with_tables(captions)
    assert not made.failures
    tallies = {"triples": Tally(), "ends": Tally(), "pairs": Tally()}
    rows: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for name, table in made.tables.items():
        for row in table.to_pylist():
            rows.setdefault(row["key"], {}).setdefault(name, []).append(row)
    for n, one in enumerate(labelled):
        of_text = rows.get(str(n), {})
        said = [_triple(row) for row in of_text.get("triples", ()) if _is_in(row["relation_start"], one.span)]
        tallies["triples"].add(Counter(said), Counter(one.triples))
        tallies["ends"].add(Counter((a, b) for a, _, b in said), Counter((a, b) for a, _, b in one.triples))
        if one.pairs is not None:
            tallies["pairs"].add(Counter(map(_pair, of_text.get("attribute_pairs", ()))), Counter(one.pairs))
    return tallies


def _triple(row: dict[str, Any]) -> Triple:
    return row["subject_end"], (row["relation_start"], row["relation_end"]), row["object_end"]


def _pair(row: dict[str, Any]) -> Pair:
    return row["object_end"], (row["attribute_start"], row["attribute_end"])


def _is_in(at: int, span: Span) -> bool:
    return span[0] <= at < span[1]


# real sentences


def real(folder: Path) -> dict[str, list[Labelled]]:
    """`dev` and `heldout`. Raises FileNotFoundError for a caption whose text is not in the folder."""
    known = texts(folder)
    parts: dict[str, list[Labelled]] = {"dev": [], "heldout": []}
    for line in LABELS.read_text("utf-8").splitlines():
        entry = json.loads(line)
        if entry["sha256"] not in known:
            raise FileNotFoundError(f"no caption in {folder} has the sha256 {entry['sha256']}")
        triples = tuple((subject[1], tuple(relation), thing[1]) for subject, relation, thing in entry["triples"])
        parts[entry["part"]].append(Labelled(known[entry["sha256"]], tuple(entry["span"]), triples))
    return parts


# scenes


def scenes(seeds: Sequence[int]) -> list[Labelled]:
    """The long and the short caption of each scene, with the truth."""
    return [one for scene in map(sample_scene, seeds) for one in (_long(scene), _short(scene))]


class _Text:
    """A caption in which phrases are found one after the other."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0
        self.triples: list[Triple] = []
        self.pairs: list[Pair] = []

    def find(self, words: str) -> Span:
        match = re.compile(rf"\b{re.escape(words)}\b", re.IGNORECASE).search(self.text, self.at)
        assert match, f"{words!r} is not in {self.text[self.at :]!r}"
        self.at = match.end()
        return match.span()

    def named(self, attributes: Sequence[str], noun: str) -> int:
        """Find a noun behind its attributes; its end."""
        spans = [self.find(attribute) for attribute in attributes]
        end = self.find(noun)[1]
        self.pairs += [(end, span) for span in spans]
        return end

    def labelled(self) -> Labelled:
        return Labelled(self.text, (0, len(self.text)), tuple(self.triples), tuple(self.pairs))


def _long(scene: Scene) -> Labelled:
    made = _Text(grammar.describe_long(scene))
    made.find("The background is")
    if scene.background in _THINGS:
        attribute, noun = _THINGS[scene.background]
        made.named([attribute], noun)
    for item in scene.objects:
        made.find(grammar.PLACES[item.cell])
        made.named([item.size, item.fill, item.colour], item.shape)
    for one, other in grammar.related(scene):
        subject = made.named([one.colour], one.shape)
        relation = made.find(grammar.relation(one, other))
        made.triples.append((subject, relation, made.named([other.colour], other.shape)))
    return made.labelled()


def _short(scene: Scene) -> Labelled:
    made = _Text(grammar.describe_short(scene))
    ends = [made.named(_attributes(item, len(scene.objects)), item.shape) for item in scene.objects]
    if scene.background in _THINGS:
        relation = made.find("on")
        attribute, noun = _THINGS[scene.background]
        thing = made.named([attribute], noun)
        made.triples += [(end, relation, thing) for end in ends]
    return made.labelled()


def _attributes(item: SceneObject, objects: int) -> list[str]:
    return [item.size, item.fill, item.colour] if objects == 1 else [item.colour]
