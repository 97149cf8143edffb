"""Exports of rows: their files, and what is left of one that fails."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption.errors import StoreError, UserError
from recaption.export.base import Options, Usage
from recaption.export.rows import (
    PLACE,
    ExportFiles,
    ExportSample,
    Made,
    csv_file,
    export_rows,
    json_list,
    json_object,
    path_of,
)
from recaption.io.store import LocalStore
from recaption.text import sha256


def test_files_hold_what_was_added(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    rows = [{"a": 'x"\n'}, {"a": "é"}]
    with json_list(store, "list.json") as add:
        for row in rows:
            add(row)
    with json_object(store, "object.json") as add:
        add(('key "', rows))
    with csv_file("one", "two")(store, "table.csv") as add:
        add(("a,b", '"\n'))
    for kind, empty in ((json_list, []), (json_object, {})):
        with kind(store, f"{kind.__name__}.json"):
            pass
        assert json.loads((tmp_path / f"{kind.__name__}.json").read_bytes()) == empty
    assert json.loads((tmp_path / "list.json").read_bytes()) == rows
    assert json.loads((tmp_path / "object.json").read_bytes()) == {'key "': rows}
    with open(tmp_path / "table.csv", newline="") as file:
        assert list(csv.reader(file)) == [["one", "two"], ["a,b", '"\n']]


def test_csv_files_are_those_of_the_csv_module(tmp_path: Path) -> None:
    rows = [("a", ""), (" a ", 'é"'), ('"', '""'), ("a,b", ",", 3), ([1, 0], "x\ny", "\t;'"), ("", "")]
    with csv_file("one", "two")(LocalStore(tmp_path), "table.csv") as add:
        for row in rows:
            add(row)
    with open(tmp_path / "expected.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("one", "two"), *rows])
    assert (tmp_path / "table.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()


def one_row(sample: ExportSample) -> Made:
    return [("x.json", {"image": sample.image, "path": sample.path})]


@pytest.mark.parametrize("images", ["none", "jpg"])
def test_paths_and_arguments_name_the_folder_of_the_images(images: Any, build: Any, plain: Any, tmp_path: Path) -> None:
    dest = tmp_path / "a folder"
    usage = Usage(program="p", arguments=f"--data {path_of(str(dest), 'x.json')} --images {PLACE}")
    layout = ExportFiles(kinds={"x.json": json_list}, usage=(usage,))
    done = export_rows(build([plain]), str(dest), Options(images=images), layout, one_row)
    (row,) = json.loads((dest / "x.json").read_bytes())
    folder = f"{dest}/images"
    assert row == {"image": "k0000.jpg", "path": f"{folder}/k0000.jpg" if images == "jpg" else "k0000.jpg"}
    assert done.usage[0].arguments == (
        f"--data '{dest}/x.json' --images " + (f"'{folder}'" if images == "jpg" else "FOLDER")
    )
    assert Path(folder).is_dir() == (images == "jpg")


def test_nothing_is_left_of_an_export_that_fails(
    build: Any, plain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, dest = build([plain] * 3), tmp_path / "dest"
    layout = ExportFiles(kinds={"x.json": json_list, "y.json": json_list})

    def failing(sample: ExportSample) -> Made:
        if sample.record.row == 2:
            raise RuntimeError("third row")
        return one_row(sample)

    def refuse() -> None:
        raise UserError("of no use")

    too_few = ExportFiles(kinds={"x.json": json_list}, least=4)
    useless = ExportFiles(kinds={"x.json": json_list}, check=refuse)
    for made, row, error in (
        (layout, failing, RuntimeError),
        (too_few, one_row, UserError),
        (useless, one_row, UserError),
    ):
        with pytest.raises(error):
            export_rows(dataset, str(dest), Options(images="jpg"), made, row)
        assert not list(dest.rglob("*"))
    full = LocalStore.adopt

    def second_fails(self: LocalStore, source: Path, path: str) -> None:
        if path == "x.json":  # y.json, which is closed first, is complete
            raise StoreError("disk full")
        full(self, source, path)

    monkeypatch.setattr(LocalStore, "adopt", second_fails)
    with pytest.raises(StoreError, match="disk full"):
        export_rows(dataset, str(dest), Options(), layout, one_row)
    assert not list(dest.rglob("*"))


@pytest.mark.parametrize(("note", "what"), [(f"below {PLACE}", "FOLDER is the folder with"), ("x", "DEST is without")])
def test_only_a_folder_that_is_named_is_explained(note: str, what: str, build: Any, plain: Any, tmp_path: Path) -> None:
    done = export_rows(
        build([plain]), str(tmp_path / "x"), Options(), ExportFiles(kinds={"x.json": json_list}, notes=(note,)), one_row
    )
    assert done.notes[-1] == f"{what} the unpacked images, KEY.jpg; --images jpg writes them"


def test_classes_have_no_images_to_name(build: Any, plain: Any, tmp_path: Path) -> None:
    dataset = build([plain] * 2)
    path = Path(dataset.file("images")) / "00000.parquet"
    table = pq.read_table(path)
    for name, values in (("sha256", [sha256("k0000"), table["sha256"][1]]), ("width", [None, None])):
        at = table.column_names.index(name)
        table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
    pq.write_table(table, path)
    done = export_rows(dataset, str(tmp_path / "x"), Options(), ExportFiles(kinds={"x.json": json_list}), one_row)
    assert (done.samples, done.left_out) == (1, {"it is a class, without an image": 1})


def test_an_export_without_samples_is_refused_with_the_reasons(build: Any, plain: Any, tmp_path: Path) -> None:
    layout = ExportFiles(kinds={"x.json": json_list})
    with pytest.raises(UserError, match=r"no sample can be exported\n  left out: 1 \(no box\)"):
        export_rows(build([plain]), str(tmp_path / "x"), Options(), layout, lambda sample: "no box")
    assert not (tmp_path / "x" / "x.json").exists()
