"""Every kind of problem that is looked for, with what to do about it."""

from __future__ import annotations

from typing import Final

from recaption.problems import Problem

_AGAIN = "Build again from the answers: recaption build PIPELINE"
_COPY = "Copy the file again from where the build was made, or build again: recaption build PIPELINE"

KINDS: Final = {
    "manifest": f"The build is unfinished, or its manifest was changed. {_AGAIN}",
    "version": "It was written by another version of recaption. Use that one, or build again",
    "missing file": _COPY,
    "size": _COPY,
    "sha256": _COPY,
    "unreadable": _COPY,
    "rows": _COPY,
    "unlisted file": "Move it away, or trainers that take all files of a folder will read it",
    "beside": f"open_clip, timm and DuckDB look there. {_AGAIN}",
    "views": f"DuckDB would show something else than what is there. {_AGAIN}",
    "columns": f"It cannot be read as the table that it should be. {_AGAIN}",
    "value": _AGAIN,
    "order": _AGAIN,
    "duplicate key": "Readers that look up samples by key find one of them. Make the source's keys unique",
    "sum": f"Images or answers are unaccounted for. {_AGAIN}",
    "count": f"The manifest does not say what is there. {_AGAIN}",
    "status": _AGAIN,
    "reject": _AGAIN,
    "split": f"An image may be on both sides of the holdout. {_AGAIN}",
    "image": f"The image is not the one that was described. {_COPY}",
    "pixels": "A trainer cannot use it. Run the pipeline again: it rejects such images before it asks about them",
    "caption": _AGAIN,
    "sub-caption": _AGAIN,
    "span": f"Offsets count code points of the caption's text. {_AGAIN}",
    "gap": f"Text of the caption is in none of its sub-captions. {_AGAIN}",
    "dup_of": _AGAIN,
    "tag": _AGAIN,
    "data": f"The data and the flat tables say different things. {_AGAIN}",
    "tar": _COPY,
    "header": f"Equal samples would not be equal bytes; another program has packed the tar. {_AGAIN}",
    "tar index": _COPY,
    "sample": _AGAIN,
    "txt": _AGAIN,
    "token ids": f"A trainer that reads them would train on other texts. {_AGAIN}",
    "answer": "The answers were changed since, or are another output's. Build again with the answers that are there",
    "no answers": "Captions were not compared with the models' own words; validate the output itself",
    "source": "Readers of a sidecar join it by position: put the source back as it was, or run the pipeline again",
    "no source": "The sidecar was not compared with its images. Validate it where that is a folder or an object store",
}


def problem(kind: str, where: str, what: str, *, warning: bool = False) -> Problem:
    """A problem of one of `KINDS`."""
    return Problem(where=where, what=what, advice=KINDS[kind], kind=kind, severity="warning" if warning else "error")
