"""β-CLIP: ShareGPT4V's JSON list with the concepts of each caption.

Read by fzohra/B-CLIP, datasets.py, sharegpt4v_train_dataset: as in `sharegpt4v`, and with load_concepts=True the keys
`concepts_minimal` (phrases, with --use-text-concepts) and `concepts_words` (words, with --use-text-tokens), instead of
a spaCy pipeline in each loading process. Concepts are padded to batches with --use-text-conditioned-patches or
--num_positive_samples. An empty list leaves an image without phrases; a batch without other images has none at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from recaption.export.base import Exported, Finding, Options, one_text
from recaption.export.dataset import Dataset
from recaption.export.formats import sharegpt4v
from recaption.export.formats.sharegpt4v import LAYOUT, TEXTS, export_captions
from recaption.export.json_list import list_problems
from recaption.export.needs import required_tables
from recaption.export.rows import ExportSample, Row, json_list
from recaption.problems import Problem
from recaption.text import fold
from recaption.types import Caption

WRITES: Final = "sharegpt4v's JSON file with concepts_minimal and concepts_words"
READ_BY: Final = "β-CLIP"
FILE: Final = "beta_clip.json"
TABLE: Final = "concepts"
KINDS: Final = ("noun_phrase", "action", "place")
"""The order of the concepts, as β-CLIP's extractor has it."""
CONCEPTS_READ: Final = (
    "in datasets.py, set load_concepts=True; β-CLIP reads concepts only with the options "
    "--use-text-conditioned-patches --use-text-concepts, which its train_CE.sh has"
)
_STOP: Final = frozenset(("a", "an", "the", "of", "its", "their", "his", "her", "this", "that", "some"))


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. Raises UserError for fewer than 1,001 samples."""
    (generation,) = one_text(dataset, TEXTS, options).values()
    layout = replace(
        LAYOUT,
        kinds={FILE: json_list},
        tables=required_tables(dataset, TABLE),
        notes=(*LAYOUT.notes, CONCEPTS_READ),
    )
    return export_captions(dataset, dest, options, generation, layout, _concepts)


def _concepts(sample: ExportSample, caption: Caption) -> Row | str:
    phrases = phrases_of(sample.tables[TABLE].where("caption_id", caption.caption_id))
    if not phrases:
        return "no concepts"
    words = dict.fromkeys(word for phrase in phrases for word in phrase.lower().split() if word not in _STOP)
    return {"concepts_minimal": phrases, "concepts_words": [*words]}


def phrases_of(rows: Iterator[Mapping[str, Any]] | Sequence[Mapping[str, Any]]) -> list[str]:
    """The texts of rows of `concepts`, each once: noun phrases, then actions, then places."""
    by_kind = sorted(rows, key=lambda row: KINDS.index(row["kind"]))
    return list(dict.fromkeys(fold(row["text"]) for row in by_kind))


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. The file is read into memory, as in the trainer."""
    yield from list_problems(path, replace(sharegpt4v.FORMAT, check=_row_findings), images)


def _row_findings(row: Any) -> Iterator[Finding]:
    yield from sharegpt4v.row_findings(row)
    for name in ("concepts_minimal", "concepts_words"):
        found = row.get(name) if isinstance(row, dict) else None
        if not isinstance(found, list) or not all(isinstance(text, str) and text.strip() for text in found):
            yield f"{name} is not a list of texts", "Write it (KeyError)", "no concepts"
        elif not found:
            yield f"{name} is empty", "Leave the sample out: it has no phrase to align", "empty concepts", "warning"
