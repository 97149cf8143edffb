"""Settings with which each shipped task can be made: some tasks need a file, or have no default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recaption.tasks import registry
from recaption.tasks.base import Task

ONTOLOGY = """
aspects:
  look: {description: what it looks like}
  kind: {description: what it is, values: {kite: [toy], toy: []}}
"""


def example_task(name: str, folder: Path) -> Task:
    """A shipped task. Files that it reads are written to `folder`."""
    settings: dict[str, Any] = {}
    if name == "aspects":
        (folder / "ontology.yaml").write_text(ONTOLOGY)
        settings = {"ontology": str(folder / "ontology.yaml")}
    elif name == "match":
        pq.write_table(pa.table({"class_name": ["kite"], "text": ["It flies."]}), folder / "texts.parquet")
        settings = {"texts": str(folder / "texts.parquet"), "class_column": "label"}
    elif name == "translate":
        settings = {"lang": "fr"}
    return registry.load(name, settings)
