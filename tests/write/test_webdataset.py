from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import warnings
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from writing import write_shard

from recaption.io.store import LocalStore
from recaption.resources import shipped
from recaption.text import normalise
from recaption.write.webdataset import header


def write(store: LocalStore, one: Any, prefix: str = "b", **more: Any) -> Any:
    made = one.assembled()
    options = {"tokenizers": ["clip"], "primary": ["short", "long", "raw"], **more}
    return write_shard(
        store,
        prefix,
        one.name,
        options.pop("records", None) or one.records(),
        one.images,
        format="webdataset",
        rejects=made.rejects,
        asked=made.asked,
        **options,
    )


def members(path: Path) -> list[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as tar:
        return [(info, tar.extractfile(info).read()) for info in tar]  # type: ignore[union-attr]


def test_a_sample_is_jpg_txt_and_json_of_a_usable_image(store: LocalStore, shard: Any) -> None:
    one = shard(5)
    write(store, one)
    found = members(store.root / "b/data/00000.tar")
    keys = ["k000", "k002", "k003", "k004"]
    assert [info.name for info, _ in found] == [f"{k}.{s}" for k in keys for s in ("jpg", "txt", "json")]
    assert [data for info, data in found if info.name.endswith("jpg")] == [d for i, d in one.pairs if i.key in keys]
    assert [data for info, data in found if info.name.endswith("txt")][:2] == [
        b"Dog 0.",
        b"A dog runs by 2. It barks twice.",
    ]
    for info, _ in found:
        assert (info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) == (0, 0, 0, "", "", 0o644)
        assert info.isreg() and not info.pax_headers


def test_the_json_member_is_valid_by_its_schema(store: LocalStore, shard: Any) -> None:
    write(store, shard(4, formats=("JPEG", "PNG", "WEBP")))
    schema = json.loads((shipped("schemas") / "sample.schema.json").read_bytes())
    samples = [json.loads(d) for i, d in members(store.root / "b/data/00000.tar") if i.name.endswith("json")]
    for sample in samples:
        Draft202012Validator(schema).validate(sample)
    ok, partial, _ = samples
    assert (ok["raw_caption"], ok["caption_short"]) == ("raw words", "Dog 0.")
    assert "caption_short" not in partial and partial["status"] == "partial" and partial["reason"] == "refusal"
    assert partial["image"]["source_format"] == "webp" and partial["image"]["format"] == "jpeg"
    assert (ok["width"], ok["height"]) == (24, 16)
    caption = ok["captions"][1]
    for sub in caption["sub_captions"]:
        assert caption["text"][sub["char_start"] : sub["char_end"]] == sub["text"] and sub["n_tokens_clip"] > 2
        assert sub["tag_lemmas"] == [tag["lemma"] for tag in sub["tags"]]


def test_the_index_points_at_every_sample(store: LocalStore, shard: Any) -> None:
    entry = write(store, shard(6))
    path = store.root / "b/data/00000.tar"
    raw = path.with_name("00000.tar.idx").read_bytes()
    offsets = struct.unpack(f"<{len(raw) // 8}Q", raw)
    assert len(offsets) == entry.samples + 1 and offsets[-1] == path.stat().st_size
    data = path.read_bytes()
    for i in range(entry.samples):
        with tarfile.open(fileobj=io.BytesIO(data[offsets[i] : offsets[i + 1]])) as tar:
            names = tar.getnames()
        assert len({name.split(".")[0] for name in names[:3]}) == 1 and len(names) == 3
    assert data[-1024:] == bytes(1024) and len(data) % 10240 == 0


def test_equal_shards_have_equal_bytes_and_the_hash_of_the_entry(store: LocalStore, shard: Any, tmp_path: Path) -> None:
    first = write(store, shard(6))
    second = write(LocalStore(tmp_path / "again"), shard(6))
    assert first == second and {f.table for f in first.files} >= {"data", "tar_index", "images", "sub_captions"}
    for file in first.files:
        data = (store.root / "b" / file.path).read_bytes()
        assert data == (tmp_path / "again/b" / file.path).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.bytes, file.sha256)


def test_hostile_texts_are_one_line_and_no_nul(store: LocalStore, make: Any) -> None:
    text = "a\0\r\nb\u2028c\ud800"
    data = make.picture(0)
    image = make.image(0, data, raw=text)
    one = make.Shard(pairs=[(image, data)], answers={"long": {image.key: make.answer(image, text)}}, rejects=[])
    write(store, one, records=list(one.assembled().records), tokenizers=[], primary=["long"])
    (_, _), (_, txt), (_, js) = members(store.root / "b/data/00000.tar")
    sample = json.loads(js)
    assert sample["caption_long"] == sample["raw_caption"] == normalise(text) == sample["captions"][1]["text"]
    assert txt.decode() == " ".join(normalise(text).split()) and b"\n" not in txt and b"\0" not in js


def test_val_samples_have_their_own_tar_if_there_are_any(store: LocalStore, shard: Any) -> None:
    entry = write(store, shard(40, holdout=0.3))
    train, val = (members(store.root / f"b/data{sub}/00000.tar") for sub in ("", "/val"))
    assert len(train) + len(val) == 3 * entry.samples and len(val) == 3 * entry.splits["val"] > 0
    assert {json.loads(d)["split"] for i, d in val if i.name.endswith("json")} == {"val"}
    assert (store.root / "b/data/val/00000.tar.idx").is_file()
    write(store, shard(6), "c")
    assert not (store.root / "c/data/val").exists()


def test_a_shard_without_usable_images_still_has_its_file(store: LocalStore, make: Any) -> None:
    image = make.image(0, b"", reason="missing_image")
    entry = write(store, make.Shard(pairs=[(image, b"")], answers={}, rejects=[]))
    assert members(store.root / "b/data/00000.tar") == [] and entry.samples == 0
    assert (store.root / "b/data/00000.tar.idx").read_bytes() == struct.pack("<Q", 10240)


@pytest.mark.parametrize("length", [1, 90, 95, 96, 128])
def test_headers_are_those_of_tarfile_for_every_length_of_key(length: int) -> None:
    name = "k" * length + ".json"
    info = tarfile.TarInfo(name)
    info.size = 123_456_789
    expected = info.tobuf(tarfile.USTAR_FORMAT if len(name) <= 100 else tarfile.PAX_FORMAT)
    assert header(name, info.size) == expected


def test_long_keys_are_read_back(store: LocalStore, make: Any) -> None:
    data = make.picture(0)
    image = make.image(0, data, key="k" * 128)
    write(store, make.Shard(pairs=[(image, data)], answers={"long": {image.key: make.answer(image)}}, rejects=[]))
    assert members(store.root / "b/data/00000.tar")[0][0].name == "k" * 128 + ".jpg"


def test_passthrough_keeps_each_suffix(store: LocalStore, shard: Any) -> None:
    write(store, shard(3, formats=("PNG",)), image_mode="passthrough")
    names = [info.name for info, _ in members(store.root / "b/data/00000.tar")]
    assert names == ["k000.png", "k000.txt", "k000.json", "k002.png", "k002.txt", "k002.json"]


def test_webdataset_reads_a_shard(store: LocalStore, shard: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import webdataset as wds

        one = shard(6, formats=("JPEG", "PNG"))
        entry = write(store, one)
        url = str(store.root / "b/data/00000.tar")
        samples = list(wds.WebDataset(url, shardshuffle=False).decode("pil").to_tuple("__key__", "jpg", "txt", "json"))
    assert len(samples) == entry.samples
    for key, image, text, sample in samples:
        assert key == sample["key"] and image.size == (24, 16) and text and isinstance(sample["captions"], list)


def test_hugging_face_datasets_reads_a_shard(store: LocalStore, shard: Any, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets

        entry = write(store, shard(8))
        files = [str(store.root / "b/data/00000.tar")]
        loaded = datasets.load_dataset("webdataset", data_files={"train": files}, cache_dir=str(tmp_path / "hf"))[
            "train"
        ]
        first = loaded[0]
    assert len(loaded) == entry.samples and first["__key__"] == "k000"
    assert first["jpg"].size == (24, 16) and first["txt"] == "Dog 0." and first["json"]["caption_short"] == "Dog 0."
