"""Batches of a dataset, in each of its formats; samples that cannot be read."""

from __future__ import annotations

import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading import Built, everything, golden, opened, raw_text, spans, two_texts
from PIL import Image
from samples import jpeg, sample, write_tar

from recaption.errors import DatasetError, UserError
from recaption.load import CaptionDataset, loader, policy


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
    assert "unreadable samples, which are skipped: 1; the last error: the image does not decode" in caplog.text


def test_everything_broken_is_said(own_copy: Built) -> None:
    out = own_copy("webdataset")
    shutil.rmtree(out / "builds" / "b" / "data")
    with pytest.raises(DatasetError, match=r"none of 17 samples could be read; the last error: .*No such file"):
        opened(out, on_error="skip").batch(0)


def test_errors_cross_from_workers(own_copy: Built) -> None:
    out = own_copy("webdataset")
    (out / "dataset" / "data" / "00000.tar").unlink()
    with pytest.raises(DatasetError, match="shard 00000"):
        list(loader(opened(out, epochs=1), num_workers=1))


def test_a_record_without_captions(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", [sample("a", jpeg(1), None)])
    with pytest.raises(DatasetError, match=r"the record has no captions \(shard t, key a\)"):
        opened(tmp_path, policy=raw_text, batch_size=1).batch(0)


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
        ({"rank": 2, "world_size": 2}, "rank is 2 and world_size is 2"),
        ({"rank": 1}, "together"),
    ],
)
def test_options(built: Built, options: dict[str, Any], why: str) -> None:
    with pytest.raises(UserError, match=re.escape(why)):
        opened(built("webdataset"), **options)


def test_ranks_of_the_environment(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    made = opened(built("webdataset"), batch_size=4)
    assert (made.rank, made.steps.global_batch) == (1, 8)


def blank(tar: Path, row: int) -> None:
    """Overwrite the pixels of a sample, behind its JPEG's first bytes."""
    start = spans(tar)[row] + 512
    with tar.open("r+b") as file:
        file.seek(start + 2)
        file.write(bytes(300))


@pytest.mark.parametrize("split", ["train", "val"])
def test_formats_hold_the_same_records(split: str) -> None:
    tars, rows, beside = (everything(golden(f, split=split, tags=True)) for f in ("webdataset", "parquet", "sidecar"))
    assert len(tars) == {"train": 13, "val": 3}[split]
    assert tars == rows
    for key, (record, _) in beside.items():  # the golden source's sides are not known, those of a written image are
        assert record == replace(tars[key][0], width=record.width, height=record.height)
    record = next(iter(tars.values()))[0]
    sub = record.captions[-1].sub_captions[0]
    assert record.captions[-1].text[sub.char_start : sub.char_end] == sub.text
    assert sub.tags and sub.n_tokens["clip"]


def test_formats_draw_the_same_texts(built: Built) -> None:
    batches = {}
    for format in ("webdataset", "sidecar", "parquet"):
        made = CaptionDataset(built(format), policy=two_texts, batch_size=4, strings=True, block=0)
        batches[format] = [made.batch(step) for step in (0, 7, 30)]
    for one, two, three in zip(*batches.values(), strict=True):
        assert one["keys"] == two["keys"] == three["keys"]
        assert one["strings"] == two["strings"] == three["strings"]
        assert torch.equal(one["images"], two["images"]) and torch.equal(one["images"], three["images"])


def test_a_batch(built: Built) -> None:
    lengths: list[int] = []

    def tokenizer(texts: list[str]) -> torch.Tensor:
        lengths.append(len(texts))
        return torch.tensor([[len(text), 0, 0] for text in texts], dtype=torch.int32)

    def crop(image: Image.Image) -> Image.Image:
        assert image.mode == "RGB"
        return image.crop((0, 0, 8, 6))

    options: dict[str, Any] = {"policy": two_texts, "batch_size": 4, "tokenizer": tokenizer, "strings": True}
    made = CaptionDataset(built("webdataset"), transform=crop, **options)
    batch = made.batch(3)
    assert (batch["images"].shape, batch["images"].dtype) == ((4, 3, 6, 8), torch.uint8)
    assert (batch["texts"].shape, batch["texts"].dtype) == ((4, 2, 3), torch.int64)
    assert lengths == [8]
    assert batch["mask"].tolist() == [True] * 4
    assert (batch["step"], batch["epoch"], batch["skipped"]) == (3, 0, 0)
    for n in range(4):
        record = made.sample(int(batch["index"][n])).record
        assert record.key == batch["keys"][n]
        for k in range(2):
            sub = record.captions[int(batch["caption"][n, k])].sub_captions[int(batch["idx"][n, k])]
            assert sub.text == batch["strings"][n][k]
            assert batch["texts"][n, k, 0] == len(sub.text)
            assert batch["weight"][n, k] == pytest.approx(sub.weight)
    assert made.generations == ("raw",)  # the small build names no others
    floats = CaptionDataset(built("webdataset"), transform=crop, output="float32", **options).batch(3)["images"]
    assert torch.equal(floats, batch["images"] / 255)


def test_the_manifests_policy_is_the_default(built: Built) -> None:
    own = CaptionDataset(built("webdataset"), batch_size=4)
    same = CaptionDataset(built("webdataset"), batch_size=4, policy=policy.weighted(2, 1, 0.1))
    assert own.batch(3)["texts"] == same.batch(3)["texts"]


def test_generations_are_numbers_with_names() -> None:
    made = golden("webdataset")
    assert made.generations == ("raw", "long", "short")
    record = made.sample(0).record
    made._policy = lambda record, rng, step: [raw_text(record, rng, step)[0]] * 2
    batch = made.batch(0)
    named = made.generations[int(batch["generation"][0, 0])]
    assert named == made.sample(int(batch["index"][0])).record.captions[0].generation
    assert record.captions[0].generation in made.generations


def test_what_a_transform_draws_is_the_samples_own(built: Built) -> None:
    import random

    def jitter(image: Any) -> torch.Tensor:
        return torch.tensor([random.random(), np.random.random(), float(torch.rand(()))])

    options: dict[str, Any] = {"policy": two_texts, "batch_size": 4, "transform": jitter, "epochs": 1}
    before = (random.getstate(), torch.get_rng_state())
    alone = [batch["images"] for batch in loader(CaptionDataset(built("webdataset"), **options))]
    assert (random.getstate(), torch.get_rng_state().tolist()) == (before[0], before[1].tolist())
    with_workers = [batch["images"] for batch in loader(CaptionDataset(built("webdataset"), **options), num_workers=2)]
    assert torch.equal(torch.stack(alone), torch.stack(with_workers))
    assert len({float(x) for batch in alone for x in batch.flatten()}) == 48 * 3
