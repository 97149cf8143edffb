"""A file is checked when it is opened: its size always, its content on request."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from loading import Built, opened, raw_text, spans
from samples import jpeg, sample, write_tar

from recaption.errors import DatasetError
from recaption.load import loader


def test_a_truncated_tar(own_copy: Built) -> None:
    out = own_copy("webdataset")
    tar = out / "dataset" / "data" / "00001.tar"
    with tar.open("r+b") as file:
        file.truncate(spans(tar)[14] + 700)
    with pytest.raises(DatasetError, match=r"00001.tar has [\d,]+ bytes, and [\d,]+ were expected.*\(shard 00001\)"):
        opened(out).batch(0)
    skipping = opened(out, on_error="skip")
    batch = skipping.batch(0)
    assert len(batch["keys"]) == 48 and not any(key.startswith("00001") for key in batch["keys"])
    assert batch["skipped"] >= 16 and batch["mask"].sum() == 32  # the whole shard: what else changed is not known
    assert skipping.batch(0)["keys"] == batch["keys"]


@pytest.mark.parametrize("format", ["webdataset", "parquet", "sidecar"])
def test_a_resume_over_changed_shards(own_copy: Built, format: str) -> None:
    """The size of each shard is checked when it is opened; its content on request."""
    out = own_copy(format)
    state = loader(opened(out)).state_dict()
    data = out / "dataset" / "data"
    (file,) = data.glob("00001.tar" if format == "webdataset" else "00001.parquet")
    whole = file.read_bytes()

    def resumed(**options: Any) -> None:
        batches = loader(opened(out, **options))
        batches.load_state_dict(state)
        next(iter(batches))

    resumed(verify="sha256")
    file.write_bytes(whole + b"\0" * 512)
    with pytest.raises(DatasetError, match=r"00001.* were expected.*\(shard 00001\)"):
        resumed()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    file.write_bytes(flipped)
    with pytest.raises(DatasetError, match=r"not the expected sha256.*\(shard 00001\)"):
        resumed(verify="sha256")
    file.unlink()
    with pytest.raises(DatasetError, match=r"00001.*\(shard 00001\)"):
        resumed()


def test_a_resume_over_changed_tars_of_others(tmp_path: Path) -> None:
    for n in range(2):
        write_tar(tmp_path / "tars" / f"{n}.tar", [sample(f"{n}{i}", jpeg(10 * n + i)) for i in range(4)])
    options = {"policy": raw_text, "batch_size": 8}
    by_size = loader(opened(tmp_path / "tars", **options)).state_dict()
    by_content = loader(opened(tmp_path / "tars", verify="sha256", **options)).state_dict()
    loader(opened(tmp_path / "tars", verify="sha256", **options)).load_state_dict(by_content)
    running = opened(tmp_path / "tars", **options)
    tar = tmp_path / "tars" / "1.tar"
    whole = bytearray(tar.read_bytes())
    whole[700] ^= 1
    tar.write_bytes(whole)
    loader(opened(tmp_path / "tars", **options)).load_state_dict(by_size)  # what `verify` is there for
    with pytest.raises(DatasetError, match="saved with other data"):
        loader(opened(tmp_path / "tars", verify="sha256", **options)).load_state_dict(by_content)
    tar.write_bytes(whole + bytes(512))
    with pytest.raises(DatasetError, match=r"1.tar .* were expected.*\(shard 1\)"):
        running.batch(0)
    with pytest.raises(DatasetError, match="saved with other data"):
        loader(opened(tmp_path / "tars", **options)).load_state_dict(by_size)
