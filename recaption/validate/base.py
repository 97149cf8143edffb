"""What all checks share: the kinds of problems with advice for each, and a shard with its contents."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import pyarrow as pa

from recaption.output.locate import Build
from recaption.output.paths import table_file
from recaption.problems import Problem
from recaption.tasks.base import TableSpec
from recaption.write.specs import specs_of

_AGAIN = "Build again from the answers: recaption build PIPELINE --again"
_COPY = "Copy the file again from where the build was made, or build again: recaption build PIPELINE --again"

KINDS: Final = {
    "manifest": f"The build is unfinished, or its manifest was changed. {_AGAIN}",
    "version": "Another version of recaption wrote it. Use that version, or build again",
    "missing file": _COPY,
    "size": _COPY,
    "sha256": _COPY,
    "unreadable": _COPY,
    "damaged": "Restore the file from a copy of the output, or do what the error of the next run says",
    "rows": _COPY,
    "unlisted file": "Move it elsewhere, or trainers that read all files of a folder will read it, too",
    "loader file": f"open_clip and timm read this file. {_AGAIN}",
    "views": f"DuckDB would show data that differ from the build. {_AGAIN}",
    "columns": f"The file cannot be read as this table. {_AGAIN}",
    "value": _AGAIN,
    "order": _AGAIN,
    "duplicate key": "Readers that look up samples by key find only one of them. Make the source's keys unique",
    "sum": f"Images or answers are unaccounted for. {_AGAIN}",
    "count": f"The manifest does not agree with the data. {_AGAIN}",
    "status": _AGAIN,
    "reject": _AGAIN,
    "split": f"An image may be on both sides of the holdout. {_AGAIN}",
    "image": f"The image is not the described one. {_COPY}",
    "pixels": "A trainer cannot use it. Run the pipeline again: it rejects such images before any request",
    "caption": _AGAIN,
    "sub-caption": _AGAIN,
    "span": f"Offsets count code points of the caption's text. {_AGAIN}",
    "gap": f"Text of the caption is in none of its sub-captions. {_AGAIN}",
    "dup_of": _AGAIN,
    "tag": _AGAIN,
    "row": f"Rows of a further table belong to no image or text of the build. {_AGAIN}",
    "data": f"The data and the flat tables differ. {_AGAIN}",
    "tar": _COPY,
    "header": f"Another program packed the tar, so its bytes are not reproducible. {_AGAIN}",
    "tar index": _COPY,
    "sample": _AGAIN,
    "txt": _AGAIN,
    "token ids": f"A trainer that reads them would train on wrong texts. {_AGAIN}",
    "embeddings": f"A reader would get the embedding of something else, or none. {_AGAIN}",
    "answer": "The answers changed after the build, or belong to another output. Build again from the present answers",
    "no answers": "Captions were not compared with the stored answers. Validate the output that contains the build",
    "source": "Readers of a sidecar join it by position: put the source back as it was, or run the pipeline again",
    "no source": "The sidecar was not compared with its images. Validate it where that is a folder or an object store",
}


def problem(kind: str, where: str, what: str, *, warning: bool = False) -> Problem:
    """A problem of one of `KINDS`."""
    return Problem(where=where, what=what, advice=KINDS[kind], kind=kind, severity="warning" if warning else "error")


USABLE = ("ok", "partial")
Manifest = dict[str, Any]


@dataclass(kw_only=True)
class Shard:
    """A shard and the contents that were read from its files.

    `tables` has the flat tables that could be read. `found` has the contents of the data files by split (None: both),
    with the columns of `schema.records`, one row per sample, without pixels. `tokens` and `embeddings` have the
    files of token ids and embeddings by path. `answers` caches what is read from the output once for all shards.
    """

    build: Build
    manifest: Manifest
    entry: dict[str, Any]
    tables: dict[str, pa.Table] = field(default_factory=dict)
    found: dict[str | None, pa.Table] = field(default_factory=dict)
    tokens: dict[str, bytes] = field(default_factory=dict)
    embeddings: dict[str, bytes] = field(default_factory=dict)
    answers: dict[str, Any] = field(default_factory=dict)
    pixels: bool = False  # decode all images

    @property
    def name(self) -> str:
        return str(self.entry["name"])

    @cached_property
    def specs(self) -> dict[str, TableSpec]:
        """The tables of tasks."""
        return specs_of(self.manifest)

    @property
    def tokenizers(self) -> list[str]:
        return list(self.manifest["tokenizers"])

    def path(self, table: str) -> str:
        """The path of a flat table, relative to the build."""
        return table_file(table, self.name)

    def column(self, table: str, name: str) -> list[Any]:
        """A column's values."""
        return self.tables[table][name].to_pylist()

    def columns(self, table: str, *names: str) -> Any:
        """Rows of these columns."""
        return zip(*(self.column(table, name) for name in names), strict=True)

    @cached_property
    def usable(self) -> frozenset[str]:
        """Keys of the images that have captions."""
        return frozenset(key for key, status in self.columns("images", "key", "status") if status in USABLE)
