"""Samples of tars, with and without a manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from loading import Built, opened, raw_text, two_texts
from samples import jpeg, sample, write_tar

from recaption.errors import DatasetError, UserError
from recaption.load import CaptionDataset


def test_an_index_of_another_tar(own_copy: Built) -> None:
    data = own_copy("webdataset") / "dataset" / "data"
    offsets = np.fromfile(data / "00000.tar.idx", "<u8")
    (offsets + 512).tofile(data / "00000.tar.idx")
    with pytest.raises(
        DatasetError, match=r"there is no tar header at byte|the index belongs to another tar: there is no sample"
    ):
        opened(data.parent.parent).batch(0)
    offsets[: len(offsets) // 2].tofile(data / "00000.tar.idx")
    with pytest.raises(DatasetError, match=r"00000.tar.idx has 64 bytes, and 136 were expected.*\(shard 00000\)"):
        opened(data.parent.parent).batch(0)


def test_tars_of_others(tmp_path: Path) -> None:
    for number in range(3):
        samples = [sample(f"{number}{i}", jpeg(10 * number + i), f"caption {number}{i}") for i in range(4)]
        samples[1] = {"note.json": b"{}", **samples[1]}  # no image: no sample
        write_tar(tmp_path / f"{number:05d}.tar", samples)
    long_name = "k" * 120  # a pax header in front of each member
    write_tar(
        tmp_path / "00003.tar", [{"__meta__": b"x"}, sample(long_name, jpeg(99), None) | {f"{long_name}.txt": b"t"}]
    )
    everywhere = CaptionDataset(tmp_path, policy=raw_text, batch_size=13, strings=True)
    assert everywhere.steps.samples == 13
    batch = everywhere.batch(0)
    texts = dict(zip(batch["keys"], batch["strings"], strict=True))
    assert texts["21"] == ["caption 21"] and texts[long_name] == ["t"]
    record = everywhere.sample(0).record
    assert (record.key, record.shard, record.row, record.url) == ("00", "00000", 0, "http://example.com/00.jpg")
    for path in (str(tmp_path / "{00000..00003}.tar"), str(tmp_path / "*.tar"), [str(tmp_path)]):
        assert CaptionDataset(path, policy=raw_text, batch_size=13).fingerprint == everywhere.fingerprint
    with pytest.raises(UserError, match="have no default policy"):
        CaptionDataset(tmp_path, batch_size=1)


def test_a_folder_of_tars_alone(built: Built, tmp_path: Path) -> None:
    """The data of a build without its manifest: the nested records are read as they are."""
    shutil.copytree(built("webdataset") / "dataset" / "data", tmp_path / "data")
    alone = CaptionDataset(tmp_path / "data", policy=two_texts, batch_size=4, strings=True)
    whole = CaptionDataset(built("webdataset"), policy=two_texts, batch_size=4, strings=True)
    assert (alone.batch(5)["keys"], alone.batch(5)["strings"]) == (whole.batch(5)["keys"], whole.batch(5)["strings"])


@pytest.mark.parametrize(
    ("body", "why"),
    [(b"{", "not JSON"), (b"[]", "not a JSON object"),
     (b'{"captions": [{"caption_id": "x"}], "key": "b"}', "has the key 'b'"),
     (b'{"captions": [{"caption_id": "x"}], "key": "a"}', "not a record of recaption: KeyError")],
)  # fmt: skip
def test_json_that_is_none(tmp_path: Path, body: bytes, why: str) -> None:
    write_tar(tmp_path / "t.tar", [{"a.jpg": jpeg(1), "a.json": body}])
    with pytest.raises(DatasetError, match=f"{why}.*(shard t, key a)"):
        opened(tmp_path, policy=raw_text, batch_size=1).batch(0)
