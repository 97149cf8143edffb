"""Keys of a published build against those of the source as it is now."""

from __future__ import annotations

from pathlib import Path

import pytest
from local_pool import build
from samples import jpeg, sample, write_tar
from small_output import answer_all, pipeline_data

from recaption.build.rekeyed import changed_keys, warning
from recaption.build.unique import KeyTable


def tars(folder: Path, names: dict[str, list[str]]) -> list[KeyTable]:
    """Tars of samples with these source keys; an image follows from its key."""
    for shard, keys in names.items():
        samples = [sample(key, jpeg(sum(key.encode()))) for key in keys]
        write_tar(folder / "source" / f"{shard}.tar", samples)
    return [KeyTable(name=name, path=f"index/{name}.parquet", rows=len(keys)) for name, keys in names.items()]


@pytest.mark.parametrize("size", ["source", 2])
def test_changed_keys_are_counted(tmp_path: Path, size: int | str) -> None:
    output = {"path": str(tmp_path / "out"), "format": "webdataset", "samples_per_shard": size}
    data = pipeline_data(tmp_path, output=output)
    indexes = tars(tmp_path, {"a": ["x/0", "x/1", "plain"], "b": ["x/2"]})
    answer_all(data)
    assert changed_keys(output["path"], indexes) == ("", 0, 0)
    made, _ = build(data)
    assert changed_keys(output["path"], indexes) == (made.name, 4, 0)
    indexes = tars(tmp_path, {"a": ["w/9", "x/0", "x/1", "plain"]}) + indexes[1:]
    answer_all(data)
    assert changed_keys(output["path"], indexes) == (made.name, 4, 2)
    indexes = tars(tmp_path, {"a": ["w/9", "plain"]}) + indexes[1:]
    answer_all(data)
    assert changed_keys(output["path"], indexes) == (made.name, 2, 0), "what is gone has no other key"
    (made / "manifest.json").write_text("{")
    assert changed_keys(output["path"], indexes) == ("", 0, 0), "a broken build is no reason to stop"


def test_a_removed_one_of_equal_images_has_no_changed_key(tmp_path: Path) -> None:
    data = pipeline_data(tmp_path)
    write = lambda keys: write_tar(tmp_path / "source" / "a.tar", [sample(key, jpeg(1)) for key in keys])  # noqa: E731
    for keys, changed in ((["k", "l", "m"], 0), (["k", "m"], 0), (["k", "x", "y"], 1)):
        write(keys)
        answer_all(data)
        indexes = [KeyTable(name="a", path="index/a.parquet", rows=len(keys))]
        assert changed_keys(str(tmp_path / "out"), indexes)[2] == changed
        build(data)


def test_the_warning_has_the_counts_and_the_reason() -> None:
    assert warning("b", 4, 0, "source") is None
    text = warning("b", 4000, 1200, "source") or ""
    assert text.startswith("of 4,000 images of build b, 1,200 have other keys in the source now: keys come from")
    assert "the path of each has changed" in (warning("b", 4000, 1200, "path") or "")
