"""Queries: texts about known images that are not from the arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recaption.errors import UserError, in_words
from recaption.tablefile import read_table


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """A text that is true of an image. With `wrong`, a text that is not: the model has to prefer the true one. Without,
    the model has to find the image among all images of the queries."""

    image: str  # key or sha256 of an image of the outputs; with `in_file` the path of a file
    text: str
    wrong: str | None = None
    slice: str = "all"
    in_file: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Examination:
    """The queries, and for each the position of its image among the features of the queries' images."""

    queries: Sequence[Query]
    images: Sequence[int]


def read(path: Path) -> list[Query]:
    """Queries of a Parquet file with the columns `image` (or `file`), `text`, and optionally `wrong` and `slice`.

    Raises UserError for a file that cannot be read, lacks a column or has no query.
    """
    try:
        table = read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"--queries {path} cannot be read as Parquet: {in_words(error)}") from error
    names = set(table.column_names)
    image = next((name for name in ("image", "file") if name in names), None)
    if image is None or "text" not in names:
        raise UserError(
            f"--queries {path} has the columns {', '.join(table.column_names)}; it needs text, and image (a key or "
            "sha256 of the outputs) or file (a path), and can have wrong and slice"
        )
    made = [
        _query(row, image, path, n)
        for n, row in enumerate(table.select([n for n in (image, "text", "wrong", "slice") if n in names]).to_pylist())
    ]
    if not made:
        raise UserError(f"--queries {path} has no rows")
    return made


def _query(row: Mapping[str, Any], image: str, path: Path, number: int) -> Query:
    wrong, part = row.get("wrong"), row.get("slice")
    if not isinstance(row["text"], str) or not row["text"].strip() or not isinstance(row[image], str):
        raise UserError(f"--queries {path}, row {number}: {image} and text must be strings that are not empty")
    if wrong == row["text"]:
        raise UserError(f"--queries {path}, row {number}: text and wrong are equal")
    return Query(image=row[image], text=row["text"], wrong=wrong, slice=part or "all", in_file=image == "file")


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """The queries of a slice that have a wrong text, or those that have none. `rows` are their positions among all
    queries."""

    name: str
    rows: npt.NDArray[np.int64]
    has_wrong: bool

    @property
    def metrics(self) -> tuple[str, ...]:
        return ("fine", "d'") if self.has_wrong else ("R@1",)


def slices(queries: Sequence[Query]) -> list[Slice]:
    """All slices, in the order in which they occur first."""
    rows: dict[tuple[str, bool], list[int]] = {}
    for n, query in enumerate(queries):
        rows.setdefault((query.slice, query.wrong is not None), []).append(n)
    return [Slice(name=name, rows=np.array(of), has_wrong=wrong) for (name, wrong), of in rows.items()]
