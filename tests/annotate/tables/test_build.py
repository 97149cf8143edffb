"""The shipped tables in a build of each format: validated, inspected, and described for readers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from damage import edit_rows, first_row, found, seal
from samples import jpeg, sample, write_tar
from small_output import answer_all, build_all, pipeline_data

from recaption.annotate.tables.registry import TABLES
from recaption.inspect import connect

TEXT = "Two red kites fly above pale dunes."


@pytest.fixture(scope="module", params=["webdataset", "parquet", "sidecar"])
def build(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    texts = (f"{TEXT} A boy holds a string.", "A cat")
    samples = [sample(f"cat{n}", jpeg(n), text) for n, text in enumerate(texts)]
    write_tar(folder / "source" / "00000.tar", samples)
    output = {"path": str(folder / "out"), "format": request.param}
    return build_all(answer_all(pipeline_data(folder, output=output, annotate={"tables": list(TABLES)})))


def test_a_build_has_the_tables_and_is_valid(build: Path) -> None:
    out = build.parent.parent
    assert found(out) == []
    with connect(str(out)) as connection:
        for name in TABLES:
            joined = f"SELECT s.text FROM {name} JOIN sub_captions AS s USING (sub_id, key)"
            assert (TEXT,) in connection.execute(joined).fetchall()
    card = (build / "README.md").read_text("utf-8")
    assert "| `triples/` | relations of two objects of a sub-caption: subject, relation, object |" in card
    listed = {table["name"]: table for table in json.loads((build / "manifest.json").read_bytes())["tables"]}
    assert listed.keys() == TABLES.keys() and not any(table["generated"] for table in listed.values())


@pytest.mark.parametrize("build", ["sidecar"], indirect=True)
@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("concepts", {"text": "a bird"}, "'a bird' is not the caption's [0:"),
        ("sheared", {"char_end": 900}, "char_start: [0:900] is not in its sub-caption"),
        ("attribute_pairs", {"attribute_start": 3, "attribute_end": 3}, "attribute_start: [3:3] is not in its"),
        ("triples", {"relation_end": -1}, "-1] is not in its sub-caption"),
        ("triples", {"sub_id": "unknown/long/0#0"}, "sub_id unknown/long/0#0 is not in the table sub_captions"),
    ],
)
def test_a_wrong_span_is_found(build: Path, table: str, change: dict[str, object], message: str) -> None:
    path = build / table / "00000.parquet"
    kept, manifest = path.read_bytes(), (build / "manifest.json").read_bytes()
    edit_rows(path, first_row(**change))
    seal(build)
    problems = found(build)
    path.write_bytes(kept)
    (build / "manifest.json").write_bytes(manifest)
    assert [problem.kind for problem in problems] == ["row"] and message in problems[0].what
