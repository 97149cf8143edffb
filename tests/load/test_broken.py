"""What is missing or broken is said with shard and key, or skipped, counted and replaced."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from loading import raw_text, two_texts
from samples import jpeg, sample, write_tar

from recaption.errors import DatasetError, UserError
from recaption.load import CaptionDataset, loader

Built = Callable[[str], Path]


def opened(path: Path | str, **options: Any) -> CaptionDataset:
    return CaptionDataset(path, **{"policy": two_texts, "batch_size": 48, "strings": True, **options})


def spans(tar: Path) -> list[int]:
    return np.fromfile(f"{tar}.idx", "<u8").tolist()


def blank(tar: Path, row: int) -> None:
    """Overwrite the pixels of a sample, behind its JPEG's first bytes."""
    start = spans(tar)[row] + 512
    with tar.open("r+b") as file:
        file.seek(start + 2)
        file.write(bytes(300))


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


def test_a_missing_shard(own_copy: Built) -> None:
    out = own_copy("webdataset")
    (out / "dataset" / "data" / "00002.tar").unlink()
    with pytest.raises(DatasetError, match=r"No such file.*00002.tar.*\(shard 00002\)"):
        opened(out).batch(0)


def test_an_image_that_does_not_decode(own_copy: Built, caplog: pytest.LogCaptureFixture) -> None:
    out = own_copy("webdataset")
    for row in (3, 5):
        blank(out / "dataset" / "data" / "00000.tar", row)
    with pytest.raises(
        DatasetError, match=r"the image does not decode: .*\(shard 00000, key 00000000[46]\)|key 00000000\d"
    ):
        opened(out).batch(0)
    batches = loader(opened(out, batch_size=16, on_error="skip", epochs=2))
    with caplog.at_level(logging.WARNING, "recaption.load"):
        masks = [batch["mask"] for batch in batches]
    assert batches.skipped >= 4
    assert sum(int((~mask).sum()) for mask in masks) == 4
    assert [record.levelname for record in caplog.records] == ["WARNING"]  # at most one a minute
    assert "skipped 1 samples that cannot be read; the last: the image does not decode" in caplog.text


def test_everything_broken_is_said(own_copy: Built) -> None:
    out = own_copy("webdataset")
    shutil.rmtree(out / "builds" / "b" / "data")
    with pytest.raises(DatasetError, match=r"none of 17 samples could be read; the last: .*No such file"):
        opened(out, on_error="skip").batch(0)


def test_errors_cross_from_workers(own_copy: Built) -> None:
    out = own_copy("webdataset")
    (out / "dataset" / "data" / "00000.tar").unlink()
    with pytest.raises(DatasetError, match="shard 00000"):
        list(loader(opened(out, epochs=1), num_workers=1))


def test_an_index_of_another_tar(own_copy: Built) -> None:
    data = own_copy("webdataset") / "dataset" / "data"
    offsets = np.fromfile(data / "00000.tar.idx", "<u8")
    (offsets + 512).tofile(data / "00000.tar.idx")
    with pytest.raises(DatasetError, match=r"there is no tar header at byte|no sample where the index says"):
        opened(data.parent.parent).batch(0)
    offsets[: len(offsets) // 2].tofile(data / "00000.tar.idx")
    with pytest.raises(DatasetError, match=r"00000.tar.idx has 64 bytes, and 136 were expected.*\(shard 00000\)"):
        opened(data.parent.parent).batch(0)


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


def test_a_record_without_captions(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", [sample("a", jpeg(1), None)])
    with pytest.raises(DatasetError, match=r"the record has no captions \(shard t, key a\)"):
        opened(tmp_path, policy=raw_text, batch_size=1).batch(0)


@pytest.mark.parametrize(
    ("body", "why"),
    [(b"{", "not JSON"), (b"[]", "no JSON object"), (b'{"captions": [{"caption_id": "x"}], "key": "b"}', "of 'b'"),
     (b'{"captions": [{"caption_id": "x"}], "key": "a"}', "not a record of recaption: KeyError")],
)  # fmt: skip
def test_json_that_is_none(tmp_path: Path, body: bytes, why: str) -> None:
    write_tar(tmp_path / "t.tar", [{"a.jpg": jpeg(1), "a.json": body}])
    with pytest.raises(DatasetError, match=f"{why}.*(shard t, key a)"):
        opened(tmp_path, policy=raw_text, batch_size=1).batch(0)


def test_a_truncated_tar_of_others(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", [sample(f"{n}", jpeg(n)) for n in range(4)])
    whole = (tmp_path / "t.tar").read_bytes()
    for cut, why in ((700, "before the end of 0.jpg"), (-len(whole) % 512 + 9 * 1024, "cut off"), (1, "cut off")):
        (tmp_path / "t.tar").write_bytes(whole[:cut])
        with pytest.raises(DatasetError, match=f"{why}.*\\(shard t\\)"):
            opened(tmp_path, policy=raw_text, batch_size=1)
    (tmp_path / "t.tar").write_bytes(b"\x1f\x8b" + bytes(1000))
    with pytest.raises(DatasetError, match="compressed with gzip"):
        opened(tmp_path, policy=raw_text, batch_size=1)
    (tmp_path / "t.tar").write_bytes(b"\x1f\x8c" + bytes(1000))
    with pytest.raises(DatasetError, match="no tar header at byte 0"):
        opened(tmp_path, policy=raw_text, batch_size=1)


def test_a_sidecars_source(own_copy: Built, tmp_path: Path) -> None:
    out = own_copy("sidecar")
    shutil.move(tmp_path / "source", tmp_path / "moved")
    with pytest.raises(
        DatasetError, match=r"of the source is missing. Give the folder .* source=… \(shard \d+, key \d+\)"
    ):
        opened(out).batch(0)
    assert len(opened(out, source=tmp_path / "moved").batch(0)["keys"]) == 48
    tar = tmp_path / "moved" / "00001.tar"
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    with pytest.raises(DatasetError, match=r"not the one that was captioned: its sha256 differs \(shard 00001, key"):
        opened(out, source=tmp_path / "moved").batch(0)
    shutil.rmtree(out / "index")
    with pytest.raises(UserError, match="copy index/ beside builds/"):
        opened(out)


def test_an_index_that_was_made_again(own_copy: Built) -> None:
    out = own_copy("sidecar")
    shutil.copy(out / "index" / "00000.parquet", out / "index" / "00001.parquet")
    with pytest.raises(DatasetError, match="the source was indexed again"):
        opened(out).batch(0)


@pytest.mark.parametrize("format", ["sidecar", "parquet"])
def test_broken_parquet(own_copy: Built, format: str) -> None:
    out = own_copy(format)
    file = out / "dataset" / "data" / "00001.parquet"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DatasetError, match=r"00001.parquet cannot be read.*\(shard 00001\)"):
        opened(out).batch(0)
    shutil.copy(out / "dataset" / "rejects" / "00000.parquet", file)
    with pytest.raises(DatasetError, match=r"00001.parquet"):
        opened(out).batch(0)


def test_manifests(own_copy: Built) -> None:
    out = own_copy("webdataset")
    path = out / "dataset" / "manifest.json"
    manifest = json.loads(path.read_text())
    for change, why in (
        ({"schema_version": "2.0"}, "schema version 2.0; this recaption reads 1"),
        ({"format": "zip"}, "format 'zip'"),
        ({"shards": [{}]}, "not a manifest: KeyError"),
    ):
        path.write_text(json.dumps({**manifest, **change}))
        with pytest.raises(DatasetError, match=why):
            opened(out)
    path.write_text("{")
    with pytest.raises(DatasetError, match="not a manifest"):
        opened(out)


def test_nothing_there(tmp_path: Path, built: Built) -> None:
    for path in (tmp_path, tmp_path / "none", "memory://none"):
        with pytest.raises(UserError, match=r"nothing to load|neither a \.tar nor a folder"):
            opened(path)
    with pytest.raises(UserError, match="cannot be read"):
        opened(str(tmp_path / "{0..1}.tar"))
    with pytest.raises(UserError, match="nothing to load"):
        CaptionDataset([], policy=two_texts, batch_size=1)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"split": "test"}, "split is 'test'; it can be train or val"),
        ({"drop_last": True}, "drop_last is True; it can be global or pad"),
        ({"on_error": "warn"}, "on_error is 'warn'"),
        ({"output": "float16"}, "output is 'float16'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 49}, "48 samples, so an epoch has no whole batch"),
        ({"epochs": 0}, "epochs is 0"),
        ({"rank": 2, "world_size": 2}, "rank is 2 of world_size 2"),
        ({"rank": 1}, "together"),
    ],
)
def test_options(built: Built, options: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=re.escape(why)):
        opened(built("webdataset"), **options)


def test_texts_and_ids_that_do_not_fit(built: Built) -> None:
    def uneven(record: Any, rng: Any, step: int) -> Any:
        return two_texts(record, rng, step)[: 1 + int(record.key) % 2]

    import torch

    ids: dict[str, Any] = {"tokenizer": lambda texts: torch.zeros(len(texts), 4)}
    with pytest.raises(UserError, match=r"the policy gave \[1, 2\] texts"):
        opened(built("webdataset"), policy=uneven, **ids).batch(0)
    batch = opened(built("webdataset"), policy=uneven).batch(0)
    assert sorted({len(texts) for texts in batch["texts"]}) == [1, 2]
    assert (batch["weight"][:, 1] == 0).sum() == 21
    with pytest.raises(UserError, match=r"the tokenizer gave \[4\] for 96 texts"):
        opened(built("webdataset"), tokenizer=lambda texts: torch.zeros(4)).batch(0)


def test_ranks_of_the_environment(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    made = opened(built("webdataset"), batch_size=4)
    assert (made.rank, made.steps.global_batch) == (1, 8)
