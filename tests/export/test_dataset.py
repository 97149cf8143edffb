"""A build opened for reading."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from exported_images import with_images
from exported_tables import tables
from trainers import NEEDY
from verified import verify_long

from recaption.cli import main
from recaption.errors import DatasetError, UserError
from recaption.export import MODULES, load
from recaption.export.base import Options
from recaption.export.dataset import SUB_CAPTIONS as SUBS
from recaption.export.dataset import Dataset, Rows, Select, TableRows
from recaption.export.needs import REGIONS

GOLDEN = Path(__file__).parent.parent / "golden" / "output"
FORMATS = ("webdataset", "parquet", "sidecar")


@pytest.mark.parametrize("below", ["", "dataset", "builds/webdataset", "builds/webdataset/"])
def test_an_output_its_dataset_and_a_build_are_opened(golden: Path, below: str) -> None:
    dataset = Dataset.open(f"{golden}/{below}")
    assert (dataset.name, dataset.format, dataset.granularities) == (
        "golden",
        "webdataset",
        {"long": "long", "short": "short"},
    )
    assert (dataset.samples("train"), dataset.samples("val"), dataset.samples("all")) == (13, 3, 16)
    assert [shard.name for shard in dataset.shards] == ["00000", "00001"]


@pytest.mark.parametrize("name", sorted(set(MODULES) - NEEDY))
def test_tables_of_tasks_do_not_change_an_export(golden: Path, tmp_path: Path, name: str) -> None:
    def files(run: str) -> dict[str, bytes]:
        dest = tmp_path / run
        load(name).export(Dataset.open(str(golden)), str(dest), Options())
        return {str(p.relative_to(dest)): p.read_bytes() for p in sorted(dest.rglob("*")) if p.is_file()}

    before = files("before")
    verify_long(golden / "builds/webdataset")
    assert files("after") == before and before


def test_an_output_on_an_object_store_is_opened(golden: Path) -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.put(str(golden / "builds" / "parquet"), "/bucket/out/builds/parquet", recursive=True)
    store.pipe_file("/bucket/out/CURRENT", b"builds/parquet")
    try:
        for url in ("memory://bucket/out", "memory://bucket/out/dataset", "memory://bucket/out/builds/parquet"):
            dataset = Dataset.open(url)
            shard = dataset.shards[0]
            remote = [(r.key, p and p.data) for r, p in with_images(dataset, shard, "all")]
            here = Dataset.open(str(golden / "builds/parquet"))
            assert remote == [(r.key, p and p.data) for r, p in with_images(here, shard, "all")]
    finally:
        store.rm("/bucket", recursive=True)


def test_a_copy_of_an_output_is_opened(golden: Path, tmp_path: Path) -> None:
    shutil.copytree(golden, tmp_path / "followed")  # links become folders
    assert Dataset.open(str(tmp_path / "followed")).prefix == "dataset"
    (golden / "dataset").unlink()
    (golden / "CURRENT").write_text("builds/parquet")  # as a copy of a bucket has it
    assert Dataset.open(str(golden)).format == "parquet"


def test_a_path_without_a_finished_build_is_refused(golden: Path, tmp_path: Path) -> None:
    for path, message in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "source", "no dataset of recaption")):
        with pytest.raises(UserError, match=message):
            Dataset.open(str(path))
    (golden / "dataset").unlink()
    with pytest.raises(UserError, match="no build is published"):
        Dataset.open(str(golden))
    manifest = golden / "builds/webdataset/manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": "1.', '"schema_version": "2.'))
    with pytest.raises(DatasetError, match=r"schema version 2"):
        Dataset.open(str(manifest.parent))
    manifest.unlink()
    (golden / "dataset").symlink_to("builds/webdataset")
    with pytest.raises(DatasetError, match="not finished"):
        Dataset.open(str(golden))


@pytest.mark.parametrize("format", FORMATS)
def test_records_are_in_source_order_with_their_texts(golden: Path, format: str) -> None:
    dataset = Dataset.open(str(golden / "builds" / format))
    records = [r for shard in dataset.shards for r in dataset.records(shard, "all")]
    subs = {key: rows for shard in dataset.shards for key, rows in dataset.table_rows(shard, SUBS, Select()).items()}
    assert len(records) == 16
    assert [(r.shard, r.row) for r in records] == sorted((r.shard, r.row) for r in records)
    keys = [r.key for r in records]
    assert keys != sorted(keys), "the tables are sorted by key: one key of the golden source sorts elsewhere"
    for record in records:
        assert record.captions and all(c.caption_id.startswith(f"{record.key}/") for c in record.captions)
        for caption in record.captions:
            own = [row for row in subs[record.key] if row["caption_id"] == caption.caption_id]
            assert own and [row["idx"] for row in own] == list(range(len(own)))
            assert all(caption.text[row["char_start"] : row["char_end"]] == row["text"] for row in own)
    by_split = [r.key for split in ("train", "val") for s in dataset.shards for r in dataset.records(s, split)]
    assert sorted(by_split) == sorted(keys)
    (shard, *_) = dataset.shards
    for generations in (("short",), ()):
        some = list(dataset.records(shard, "all", generations=generations))
        assert [r.key for r in some] == [r.key for r in records if r.shard == shard.name]
        assert {c.generation for r in some for c in r.captions} == set(generations)
    both = [c for r in dataset.records(shard, "all", generations=["raw"], granularities=["long"]) for c in r.captions]
    assert both == [c for r in records if r.shard == shard.name for c in r.captions if c.granularity in ("raw", "long")]


def test_a_missing_table_is_a_dataset_error(golden: Path) -> None:
    (golden / "builds/webdataset/captions/00001.parquet").unlink()
    dataset = Dataset.open(str(golden))
    list(dataset.records(dataset.shards[0]))
    with pytest.raises(DatasetError, match=r"captions/00001.parquet is missing"):
        list(dataset.records(dataset.shards[1]))


def test_an_empty_build_is_opened(build: Callable[..., Dataset]) -> None:
    dataset = build([])
    assert dataset.samples("all") == 0 and dataset.shards == ()


@pytest.mark.parametrize("format", ["webdataset", "parquet", "sidecar"])
@pytest.mark.parametrize("name", list(MODULES))
def test_an_output_is_refused_with_the_export_command_unless_the_trainer_reads_it(
    tmp_path: Path, name: str, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    build = str(GOLDEN / "builds" / format)
    code = main(["validate", build, "--for", name])
    printed = capsys.readouterr()
    if format == "webdataset" and name in ("flair", "cosmos", "open_clip"):
        assert "is an output of recaption" not in printed.err  # the trainer reads its tars
        return
    assert code == 2
    assert f"{build} is an output of recaption (format {format}), not a dataset for {name}" in printed.err
    if format == "webdataset" and name not in NEEDY:
        (command,) = re.findall(r"recaption (export \S+ DEST --to \w+(?: --images jpg)?)", printed.err)
        dest = str(tmp_path / "dest")
        assert main(command.replace("DEST", dest).split()) == 0
        assert main(["validate", dest, "--for", name]) == 0


def test_rows_of_a_key_that_are_not_adjacent_keep_their_order() -> None:
    table = pa.table({"key": ["b", "a", "b", "c", "a"], "n": [1, 2, 3, 4, 5]})
    rows = TableRows(table)
    assert dict(rows) == {"a": [{"n": 2}, {"n": 5}], "b": [{"n": 1}, {"n": 3}], "c": [{"n": 4}]}
    assert "d" not in rows and sorted(rows.column("n")) == [1, 2, 3, 4, 5]
    assert rows["a"][0] is not rows["a"][0]  # each reader has its own
    assert dict(TableRows(table.slice(3), with_key=True)) == {"c": [{"key": "c", "n": 4}], "a": [{"key": "a", "n": 5}]}
    assert dict(TableRows(table.slice(5))) == {}


def test_rows_of_a_sample_are_read_by_column_or_by_value() -> None:
    rows = TableRows(pa.table({"key": ["a", "b", "b", "b"], "n": [1, 1, 2, 1], "text": ["w", "x", "y", "z"]}))
    assert list(rows.of("b").values("text", "n")) == [("x", 1), ("y", 2), ("z", 1)]
    assert rows.of("b").where("n", 1) == [{"n": 1, "text": "x"}, {"n": 1, "text": "z"}]
    assert list(rows.of("a")) == rows["a"] == [{"n": 1, "text": "w"}]
    for none in (rows.of("c"), Rows()):
        assert list(none) == list(none.values("n")) == none.where("n", 1) == []


def test_an_output_without_a_build_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "answers").mkdir()
    (tmp_path / "pipeline.yaml").write_text("name: x")
    assert main(["validate", str(tmp_path), "--for", "llava"]) == 2
    assert "is an output of recaption without a finished build" in capsys.readouterr().err


def test_rows_of_a_table_are_those_of_one_generation(build: Callable[..., Dataset], plain: Any) -> None:
    dataset = build([plain] * 3, per_shard=2, tables=tables("regions", "concepts"))
    one, two = dataset.shards
    rows = dataset.table_rows(one, "regions", REGIONS.made_by("my_regions"))
    assert list(rows) == ["k0000"] and [row["phrase"] for row in rows["k0000"]] == ["Red kite", "dunes", "sky"]
    assert set(rows["k0000"][0]) == {"key", *REGIONS.columns}
    assert dataset.table_rows(one, "regions", REGIONS.made_by("another")) == {}
    assert list(dataset.table_rows(two, "concepts", Select())) == ["k0002"]
    named = dataset.table_rows(one, SUBS, Select(columns=("text",)), sub_ids=["k0001/long/0#2"])
    assert named == {"k0001": [{"key": "k0001", "text": "Waves break at the shore."}]}
    assert dataset.makers("regions", "regions") == ("my_regions",) and dataset.makers("negatives", "negatives") == ()
    assert dataset.has_table("concepts") and not dataset.has_table("triples")
    with pytest.raises(DatasetError, match="does not list the table triples"):
        dataset.table_rows(one, "triples", Select())
