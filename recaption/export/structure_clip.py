"""Structure-CLIP: a JSON list with a text, its triples and pairs, and a false text.

Read by zjukg/Structure-CLIP, model/dataloader.py, CoCoDataset_aug_update_withneg: `triples` are lists of head, relation
and tail, `pairs` of object and attribute; triples, then pairs, are read up to six; each element has five tokens of
BERT, start and end included. The folder of the images is written in the module: /root/data/coco_data/.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import methodcaller
from typing import Any, Final

from recaption.export.base import Exported, Finding, Options, Usage, described, lacking
from recaption.export.dataset import Dataset
from recaption.export.json_list import ListFormat, list_problems
from recaption.export.needs import NEGATIVES, only_table, required_tables
from recaption.export.negatives import changed, first_of, tables_of
from recaption.export.rows import PLACE, ExportFiles, ExportSample, Made, Row, export_rows, json_list, path_of
from recaption.problems import Problem
from recaption.tasks.changes import Category
from recaption.text import fold

WRITES: Final = "one JSON file with image (KEY.jpg), text, triples, pairs, neg_text"
READ_BY: Final = "Structure-CLIP"
FILE: Final = "structure_clip.json"
READ: Final = 6  # triples and pairs of a row
CHANGES: Final[Sequence[Category]] = ("swap", "attribute", "object", "relation", "place", "action", "number")
"""Categories of the false text, best first: Structure-CLIP swaps attributes or objects."""


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `base.Exporter.export`. There is a row for each sub-caption with a triple or pair, and a negative."""
    generation = only_table(dataset, options, NEGATIVES)

    def row(sample: ExportSample) -> Made | str:
        made = [(FILE, line) for line in _rows(sample)]
        return made or "no sub-caption with a triple or pair, and a negative"

    layout = ExportFiles(
        kinds={FILE: json_list},
        notes=(
            described({NEGATIVES.table: generation}),
            f"in model/dataloader.py, replace /root/data/coco_data/ by {PLACE}/",
        ),
        usage=(Usage(program="Structure-CLIP (main of 2024-06)", arguments=f"--train_path {path_of(dest, FILE)}"),),
        tables={**tables_of(generation), **required_tables(dataset, "triples", "attribute_pairs")},
        generations=(),
    )
    return export_rows(dataset, dest, options, layout, row)


def _rows(sample: ExportSample) -> Iterator[Row]:
    for sub, negatives in changed(sample):
        triples = _elements(sample, "triples", sub["sub_id"], ("subject", "relation", "object"))
        pairs = _elements(sample, "attribute_pairs", sub["sub_id"], ("object", "attribute"))
        false = first_of(negatives, CHANGES)
        if false is not None and (triples or pairs):
            graph = {"triples": triples[:READ], "pairs": pairs[: max(0, READ - len(triples))]}
            yield {"image": sample.image, "text": fold(sub["text"]), **graph, "neg_text": false}


def _elements(sample: ExportSample, table: str, sub_id: str, names: Sequence[str]) -> list[list[str]]:
    return [[row[name] for name in names] for row in sample.tables[table].where("sub_id", sub_id)]


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. The file is read into memory, as in the trainer."""
    yield from list_problems(path, FORMAT, images)


def _file_findings(rows: list[Any]) -> Iterator[Finding]:
    if not rows:
        yield "it has no rows", "Export a build with triples and negatives", "no rows"


def _row_findings(row: Any) -> Iterator[Finding]:
    missing = lacking(row, ("image", "text", "neg_text"))
    if missing:
        yield f"it has no string {', '.join(missing)}", "Write all three (KeyError)", "missing text"
        return
    for name, size in (("triples", 3), ("pairs", 2)):
        found = row.get(name)
        if not isinstance(found, list):
            yield f"{name} is not a list", "Write a list, [] without any (KeyError)", f"no {name}"
        elif not all(_is_element(item, size) for item in found):
            yield f"{name} has an entry that is not {size} texts", f"Write lists of {size} texts", f"broken {name}"
    if row["text"].strip() == row["neg_text"].strip():
        yield "neg_text is the text itself", "Leave the row out: it is trained as false", "negative is the text"


def _is_element(item: Any, size: int) -> bool:
    return isinstance(item, list) and len(item) == size and all(isinstance(text, str) and text for text in item)


FORMAT: Final = ListFormat(check=_row_findings, check_file=_file_findings, image=methodcaller("get", "image"))
