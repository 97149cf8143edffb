"""COSMOS reads the files that FLAIR reads (ExplainableML/cosmos, src/training/data.py, sample_dict).

It repeats a pool that has fewer texts than it draws, so an empty pool is a division by zero. The pool depends on
--caption-sampling-mode: `raw` uses raw_caption alone, `short` also the short lists, `long` the long lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from recaption.export.base import Exported, Finding, Options, Usage
from recaption.export.dataset import Dataset
from recaption.export.formats import flair
from recaption.export.tars import Found, arguments, problems_in
from recaption.problems import Problem

WRITES: Final = flair.WRITES
READ_BY: Final = "COSMOS"
PROGRAM: Final = "COSMOS (main since 2025-03; before, it had no code)"
_MODES: Final = {
    "raw": ("raw_caption",),
    "short": tuple(name for name in flair.LISTS if not name.startswith("long")),
    "long": tuple(name for name in flair.LISTS if name.startswith("long")),
}


def export(dataset: Dataset, dest: str, options: Options) -> Exported:
    """See `flair.export`."""
    done = flair.export_lists(dataset, dest, options)
    textcrop = f"{arguments(dest, done)} --caption-sampling-mode textcrop"
    return replace(done, usage=(Usage(program=PROGRAM, arguments=textcrop),))


def validate(path: str, *, loaders: int | None = None, images: str | None = None) -> Iterator[Problem]:
    """See `base.Exporter.validate`."""
    yield from problems_in(path, _sample_findings, loaders=loaders)


def _sample_findings(found: Found) -> Iterator[Finding]:
    findings = list(flair.sample_findings(found))
    yield from findings
    if any("warning" not in finding for finding in findings):
        return
    body = flair.json_of(found) or {}
    for mode, names in _MODES.items():
        if not any(body[name] for name in names):
            advice = "Use mode random or textcrop, or leave the sample out: this mode divides by zero"
            yield f"no text for --caption-sampling-mode {mode}", advice, f"no text for mode {mode}", "warning"
