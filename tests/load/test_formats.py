"""The same samples and texts come out of every format, of copies and of tars that others have written."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loading import raw_text, two_texts
from PIL import Image
from samples import jpeg, sample, write_tar

from recaption.errors import DatasetError, UserError
from recaption.load import CaptionDataset, loader, policy

Built = Callable[[str], Path]
GOLDEN = Path(__file__).parent.parent / "golden"


def everything(made: CaptionDataset) -> dict[str, tuple[Any, bytes]]:
    samples = [made.sample(index) for index in range(made.steps.samples)]
    return {one.record.key: (one.record, one.image) for one in samples}


def golden(format: str, **options: Any) -> CaptionDataset:
    path = GOLDEN / "output" / "builds" / format
    return CaptionDataset(path, policy=raw_text, batch_size=2, source=GOLDEN / "source", **options)


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


def test_a_sidecars_pixels_are_the_sources() -> None:
    beside, tars = everything(golden("sidecar")), everything(golden("webdataset"))
    for key, (_, data) in beside.items():
        if data[:2] == b"\xff\xd8":
            assert data == tars[key][1]
        pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16)
        other = np.asarray(Image.open(io.BytesIO(tars[key][1])).convert("RGB"), np.int16)
        assert pixels.shape == other.shape


def test_formats_draw_the_same_texts(built: Built) -> None:
    batches = {}
    for format in ("webdataset", "sidecar", "parquet"):
        made = CaptionDataset(built(format), policy=two_texts, batch_size=4, strings=True, block=0)
        batches[format] = [made.batch(step) for step in (0, 7, 30)]
    for one, two, three in zip(*batches.values(), strict=True):
        assert one["keys"] == two["keys"] == three["keys"]
        assert one["strings"] == two["strings"] == three["strings"]
        assert torch.equal(one["images"], two["images"]) and torch.equal(one["images"], three["images"])


@pytest.mark.parametrize("format", ["sidecar", "parquet"])
def test_rows_are_shuffled_within_blocks_unless_asked_otherwise(built: Built, format: str) -> None:
    options: dict[str, Any] = {"policy": two_texts, "batch_size": 4}
    own, near = CaptionDataset(built(format), **options), CaptionDataset(built(format), block=1, **options)
    assert own.state_dict()["block"] == 4
    shards = [near.sample(index).record.shard for step in range(12) for index in near.batch(step)["index"].tolist()]
    assert sum(a != b for a, b in pairwise(shards)) == 2


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


def test_images_of_different_sizes_are_a_list(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [sample("a", jpeg(1, (8, 8))), sample("b", jpeg(2, (9, 8)))])
    batch = CaptionDataset(tmp_path, policy=raw_text, batch_size=2).batch(0)
    assert sorted(tuple(image.shape) for image in batch["images"]) == [(3, 8, 8), (3, 8, 9)]


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
    with pytest.raises(UserError, match="suggest no policy"):
        CaptionDataset(tmp_path, batch_size=1)


def test_a_folder_of_tars_alone(built: Built, tmp_path: Path) -> None:
    """The data of a build without its manifest: the nested records are read as they are."""
    shutil.copytree(built("webdataset") / "dataset" / "data", tmp_path / "data")
    alone = CaptionDataset(tmp_path / "data", policy=two_texts, batch_size=4, strings=True)
    whole = CaptionDataset(built("webdataset"), policy=two_texts, batch_size=4, strings=True)
    assert (alone.batch(5)["keys"], alone.batch(5)["strings"]) == (whole.batch(5)["keys"], whole.batch(5)["strings"])


def test_where_a_build_is_found(built: Built) -> None:
    out = built("webdataset")
    prints = {
        CaptionDataset(path, policy=two_texts, batch_size=2).fingerprint
        for path in (out, out / "dataset", out / "builds" / "b", f"file://{out}")
    }
    assert len(prints) == 1


@pytest.mark.parametrize("format", ["webdataset", "sidecar", "parquet"])
def test_behind_a_url(built: Built, format: str) -> None:
    """An fsspec file system without links: CURRENT says which build is published."""
    import fsspec

    out = built(format)
    remote = fsspec.filesystem("memory")
    remote.put(str(out / "builds"), f"/{format}/builds", recursive=True)
    remote.put(str(out / "index"), f"/{format}/index", recursive=True)
    remote.put(str(out.parent / "source"), f"/{format}/source", recursive=True)
    remote.pipe_file(f"/{format}/CURRENT", b"builds/b\n")
    options: dict[str, Any] = {"policy": two_texts, "batch_size": 4, "strings": True}
    there = CaptionDataset(f"memory://{format}", source=f"memory://{format}/source", **options)
    here = CaptionDataset(out, **options)
    assert there.fingerprint == here.fingerprint
    assert there.batch(9)["strings"] == here.batch(9)["strings"]
    assert torch.equal(there.batch(9)["images"], here.batch(9)["images"])


def test_newer_fields_are_left_alone(own_copy: Built) -> None:
    out = own_copy("webdataset")
    made = CaptionDataset(out, policy=two_texts, batch_size=1)
    read = made._shards.read
    from recaption.load.records import record_of

    record = read(0, 0).record
    data = json.loads(json.dumps({"captions": [], **{n: getattr(record, n) for n in ("key", "source_key", "shard")}}))
    data |= {"row": 0, "sha256": "", "status": "ok", "split": "train", "aesthetic": 0.5}
    assert record_of(data).key == record.key


@pytest.mark.parametrize("name", ["00000.tar.gz", "00000.tgz", "00000.TAR.GZ", "00000.tar.zst"])
@pytest.mark.parametrize("given", ["file", "folder", "pattern"])
def test_a_compressed_tar_is_refused_by_its_name(name: str, given: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"")
    write_tar(tmp_path / "00001.tar", [sample("a", jpeg(1))])
    path = {"file": tmp_path / name, "folder": tmp_path, "pattern": tmp_path / "*"}[given]
    with pytest.raises(UserError, match=r"compressed tars are not supported.*gunzip"):
        CaptionDataset(str(path), policy=raw_text, batch_size=1)


def test_a_compressed_tar_beside_its_plain_one_is_left_out(tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [sample("a", jpeg(1))])
    (tmp_path / "0.tar.gz").write_bytes(gzip.compress((tmp_path / "0.tar").read_bytes()))
    assert CaptionDataset(tmp_path, policy=raw_text, batch_size=1).steps.samples == 1


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_whose_content_is_compressed_is_refused(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [sample("a", jpeg(1))])
    (tmp_path / "0.tar").write_bytes(compress((tmp_path / "0.tar").read_bytes()))
    with pytest.raises(DatasetError, match=r"compressed with (gzip|bzip2|xz).*decompress it"):
        CaptionDataset(tmp_path, policy=raw_text, batch_size=1)


def test_a_json_member_with_a_byte_order_mark(tmp_path: Path) -> None:
    body = b'\xef\xbb\xbf{"caption": "a red sink", "url": "http://example.com/a.jpg"}'
    write_tar(tmp_path / "0.tar", [{"a.jpg": jpeg(1), "a.json": body}])
    record = CaptionDataset(tmp_path, policy=raw_text, batch_size=1).sample(0).record
    assert (record.captions[0].text, record.url) == ("a red sink", "http://example.com/a.jpg")
