"""The shipped tables of `annotate.tables` by name. A table is imported when a pipeline names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

TABLES: Final[Mapping[str, str]] = {
    "concepts": "recaption.annotate.tables.concepts:Concepts",
    "attribute_pairs": "recaption.annotate.tables.attribute_pairs:AttributePairs",
    "triples": "recaption.annotate.tables.triples:Triples",
    "sheared": "recaption.annotate.tables.sheared:Sheared",
}
