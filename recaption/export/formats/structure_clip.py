"""Structure-CLIP: a JSON list with a text, its triples and pairs, and a false text.

Read by zjukg/Structure-CLIP, model/train.py and model/dataloader_downstream.py, VG_Attribution: `true_triples` are
lists of head, relation and tail, of which six are read; each part has five tokens of BERT, start and end included. A
pair of object and attribute is the triple (attribute, is, object), as in model/dataloader.py. `false_triples` has to
exist; its triples are not used. Only if the file's name contains "adjchange", images are read whole, from the folder
/root/data/coco_data/ that is fixed in the module. Only if it contains "train", texts are tokenised.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import methodcaller
from typing import Any, Final

from recaption.export.base import Exported, Finding, Options, Usage, described, found_in, lacking, named
from recaption.export.dataset import Dataset
from recaption.export.json_list import ListFormat, list_problems
from recaption.export.needs import NEGATIVES, only_table, required_tables
from recaption.export.negatives import changed, first_of, tables_of
from recaption.export.rows import PLACE, ExportFiles, ExportSample, Made, Row, export_rows, json_list, path_of
from recaption.problems import Problem
from recaption.tasks.changes import Category
from recaption.text import fold

WRITES: Final = "one JSON file with image_path (KEY.jpg), true_caption, false_caption, true_triples"
READ_BY: Final = "Structure-CLIP"
PROGRAM: Final = "Structure-CLIP (all versions, to main of 2024-06)"
FILE: Final = "train_adjchange.json"
NAMED: Final = ("train", "adjchange")
"""Words that the path of the file must have."""
READ: Final = 6  # triples of a row
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
            f"in model/dataloader_downstream.py, replace /root/data/coco_data/ by {PLACE}/",
        ),
        usage=(Usage(program=PROGRAM, arguments=f"--train_path {path_of(dest, FILE)}"),),
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
            graph = [*triples, *([attribute, "is", of] for of, attribute in pairs)][:READ]
            texts = {"true_caption": fold(sub["text"]), "false_caption": false}
            yield {"image_path": sample.image, **texts, "true_triples": graph, "false_triples": []}


def _elements(sample: ExportSample, table: str, sub_id: str, names: Sequence[str]) -> list[list[str]]:
    return [[row[name] for name in names] for row in sample.tables[table].where("sub_id", sub_id)]


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`. The file is read into memory, as in the trainer."""
    yield from list_problems(path, FORMAT, images)
    for file in named(path, FORMAT.suffix):
        missing = [word for word in NAMED if word not in file]
        if missing:
            advice = "Rename it, such as to " + FILE
            yield from found_in(file, [(f"its name lacks {' and '.join(missing)}", advice, "name of the file")])


def _file_findings(rows: list[Any]) -> Iterator[Finding]:
    if not rows:
        yield "it has no rows", "Export a build with triples and negatives", "no rows"


def _row_findings(row: Any) -> Iterator[Finding]:
    missing = lacking(row, ("image_path", "true_caption", "false_caption"))
    if missing:
        yield f"it has no string {', '.join(missing)}", "Write all three (KeyError)", "missing text"
        return
    for name in ("true_triples", "false_triples"):
        found = row.get(name)
        if not isinstance(found, list):
            yield f"{name} is not a list", "Write a list, [] without any (KeyError)", f"no {name}"
        elif not all(_is_triple(item) for item in found):
            yield f"{name} has an entry that is not three texts", "Write lists of three texts", f"broken {name}"
    if row["true_caption"].strip() == row["false_caption"].strip():
        yield "false_caption is the true one", "Leave the row out: it is trained as false", "negative is the text"


def _is_triple(item: Any) -> bool:
    return isinstance(item, list) and len(item) == 3 and all(isinstance(text, str) and text for text in item)


FORMAT: Final = ListFormat(check=_row_findings, check_file=_file_findings, image=methodcaller("get", "image_path"))
