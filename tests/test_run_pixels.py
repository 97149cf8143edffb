"""What becomes of images whose files are damaged, odd or lie on their side, from the source to a trainer's batch."""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from exported_images import with_images
from mutated_images import encoded, exif, originals, picture
from PIL import Image as Pil
from PIL import ImageOps
from samples import damaged_png, sample, write_tar
from small_output import answer_all, build_all, pipeline_data

from recaption import config
from recaption.decode import supported
from recaption.export import load
from recaption.export.base import Options
from recaption.export.dataset import Dataset
from recaption.generate.chunks import Job, list_one, list_shard
from recaption.generate.plan import make_plan
from recaption.io.store import LocalStore
from recaption.load import CaptionDataset
from recaption.output.index import load_index
from recaption.output.locate import read_manifest
from recaption.source import open_source
from recaption.tasks.question import requests
from recaption.text import sha256
from recaption.validate import validate_output

JPEG = originals()["jpeg"]
_END = JPEG.index(b"\xff\xdb")
FILES = {
    "plain": JPEG,
    "junk": JPEG[:_END] + b"\x11\xff\0\x22" + JPEG[_END:],
    "no_end": JPEG[:-2],
    "cut": encoded(picture((512, 384)), "JPEG", progressive=True)[:3000],
    "tiny": encoded(picture((8, 8)), "PNG"),
    "wide": encoded(picture((900, 20)), "PNG"),
    "html": b"<html>404</html>",
    "bmp": b"BM" + bytes(100),
    "turned": encoded(picture(), "JPEG", exif=exif(6), quality=95),
}
REASONS = {
    "no_end": "truncated",
    "cut": "truncated",
    "tiny": "too_small",
    "wide": "extreme_aspect",
    "html": "undecodable",
    "bmp": "undecodable",
}
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500)


def source_of(folder: Path, files: dict[str, bytes]) -> None:
    write_tar(folder / "source" / "s.tar", [sample(key, data, "a thing. It is red.") for key, data in files.items()])


def from_column(folder: Path, **source: Any) -> config.Pipeline:
    """Captions that exist, in a column."""
    return config.validate(
        pipeline_data(
            folder,
            source={"path": f"{folder}/source/*.tar"} | source,
            models={"r": {"engine": "column"}},
            generate=[{"id": "long", "model": "r", "column": "caption"}],
        )
    )


def listed(pipeline: config.Pipeline) -> tuple[Any, dict[str, Any]]:
    """The listing of the only shard, its column answered on the spot, and its images by key."""
    plan, source = make_plan(pipeline), open_source(pipeline.source)
    store = LocalStore(pipeline.output.path)
    (shard,) = source.shards()
    listing = list_one(plan.questions, Job(source=source, store_url=store.url, epoch=1), shard, from_source=True)
    return listing, {image.key: image for image in load_index(store, source, shard)[0]}


def test_captions_from_a_column_are_kept_for_usable_images_only(tmp_path: Path) -> None:
    source_of(tmp_path, FILES)
    listing, images = listed(from_column(tmp_path))
    assert {key: image.reason for key, image in images.items() if image.reason} == REASONS
    assert (listing.images, listing.usable, listing.done, listing.chunks) == (9, 3, (0,), ())
    assert listing.counters.answers.total() == 3
    rejects = pq.read_table(tmp_path / "out/rejects/source/s.parquet").to_pylist()
    assert {row["key"]: (row["stage"], row["reason"]) for row in rejects} == {
        key: ("decode", reason) for key, reason in REASONS.items()
    }
    build = build_all(make_plan(from_column(tmp_path, limits={"min_side": 16})))
    manifest = read_manifest(LocalStore(tmp_path / "out"), f"builds/{build.name}")
    assert manifest["counts"]["ok"] == 3 and manifest["rejects"] == Counter(REASONS.values())
    assert manifest["pixels"] == {
        "orientation": "exif",
        "checked": ["header", "end", "limits"],
        "limits": {"min_side": 16, "max_pixels": 100_000_000, "max_aspect": 20.0},
        "turned": 1,
    }


def test_limits_may_change_without_reading_the_source_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source_of(tmp_path, FILES)
    listed(from_column(tmp_path))
    monkeypatch.setattr("recaption.source.webdataset.open_stream", lambda path: pytest.fail("read again"))
    monkeypatch.setattr("recaption.source.webdataset.WebDatasetSource.columns", lambda self: frozenset({"caption"}))
    _, images = listed(from_column(tmp_path, limits={"min_side": 4, "max_aspect": 100}))
    assert images["tiny"].reason is None and images["wide"].reason is None
    _, images = listed(from_column(tmp_path, limits={"max_pixels": 3000}))
    assert images["plain"].reason == "too_many_pixels" and "64 x 48 px is 3072 pixels" in str(images["plain"].detail)


@pytest.mark.skipif(supported("HEIF"), reason="pillow-heif is installed")
def test_a_heic_file_without_the_extra_is_rejected_with_its_name(tmp_path: Path) -> None:
    source_of(tmp_path, {"phone": HEIC, "plain": JPEG})
    _, images = listed(from_column(tmp_path))
    assert images["phone"].reason == "undecodable"
    assert images["phone"].detail == "the image is HEIC/HEIF, which needs the extra heif: pip install 'recaption[heif]'"


def test_heic_is_read_upright_where_the_extra_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    files = {"plain": JPEG, "heif": originals()["heif"], "heifturned": originals()["heif turned"], "broken": HEIC}
    source_of(tmp_path, files)
    _, images = listed(from_column(tmp_path))
    assert [images[key].reason for key in files] == [None, None, None, "undecodable"]
    assert images["heifturned"].orientation is None and images["heifturned"].upright_size == (48, 64)
    build_all(make_plan(from_column(tmp_path)))
    dataset = CaptionDataset(tmp_path / "out", batch_size=1, policy="raw", source=tmp_path / "source")
    shapes = {dataset.sample(n).record.key: dataset._decoded(dataset.sample(n)).size for n in range(3)}
    assert shapes == {"plain": (64, 48), "heif": (64, 48), "heifturned": (48, 64)}


def test_orientation_changes_the_identity_of_rotated_images_only(tmp_path: Path) -> None:
    """Answers that an earlier version stored were made from pictures that lay on their side where they have one."""
    source_of(tmp_path, FILES)
    data = pipeline_data(tmp_path)
    hashes = {}
    for orientation in ("exif", "stored"):
        pipeline = config.validate(data | {"source": data["source"] | {"orientation": orientation}})
        plan, source = make_plan(pipeline), open_source(pipeline.source)
        (shard,) = source.shards()
        images, _ = load_index(LocalStore(pipeline.output.path), source, shard)
        hashes[orientation] = {image.key: requests(plan.questions[0], image)[0].prompt_sha256 for image in images}
        prompt = sha256(plan.questions[0].prompt.fill_in({}))  # type: ignore[union-attr]
        assert {image.key for image in images if image.orientation} == ({"turned"} if orientation == "exif" else set())
    assert set(hashes["stored"].values()) == {prompt}
    assert {key for key, found in hashes["exif"].items() if found != prompt} == {"turned"}


def test_only_rotated_images_are_generated_again_after_an_earlier_version(tmp_path: Path) -> None:
    files = {"plain": JPEG, "turned": FILES["turned"], "png": originals()["png"]}
    source_of(tmp_path, files)
    data = pipeline_data(tmp_path)
    answer_all(data | {"source": data["source"] | {"orientation": "stored"}})  # as it was before there was a choice
    plan = make_plan(config.validate(data))
    source, store = open_source(plan.pipeline.source), LocalStore(plan.pipeline.output.path)
    (shard,) = source.shards()
    listing = list_shard(store, source, shard, plan.questions, frozenset())
    (chunk,) = listing.chunks
    assert listing.done == (2, 2) and chunk.rows() == [1] and chunk.requests == 2


@pytest.mark.parametrize("format", ["webdataset", "sidecar", "parquet"])
def test_trainers_read_upright_images(format: str, tmp_path: Path) -> None:
    forms = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"} | ({"avif": "AVIF"} if supported("AVIF") else {})
    files = {
        f"{name}{turn}": encoded(picture(), form, exif=exif(turn), quality=98)
        for name, form in forms.items()
        for turn in (1, 3, 6, 7)
    }
    source_of(tmp_path, files | {"broken": damaged_png()})
    data = pipeline_data(tmp_path)
    data["output"] |= {"format": format}
    build = build_all(answer_all(data))
    assert (
        list(validate_output(str(tmp_path / "out"))) == list(validate_output(str(tmp_path / "out"), pixels=True)) == []
    )
    expected = {}
    for key, file in files.items():
        with Pil.open(io.BytesIO(file)) as opened:
            expected[key] = np.asarray(ImageOps.exif_transpose(opened).convert("RGB")).astype(int)
    rows = {row["key"]: row for row in pq.read_table(build / "images").to_pylist()}
    dataset = CaptionDataset(tmp_path / "out", batch_size=1, policy="raw", source=tmp_path / "source")
    found = {}
    for n in range(len(files)):
        read = dataset.sample(n)
        found[read.record.key] = np.asarray(dataset._decoded(read)).astype(int)
    assert found.keys() == files.keys()
    for key in files:
        turn = int(key[-1])
        assert rows[key]["orientation"] == (None if turn == 1 else turn), key
        assert (rows[key]["height"], rows[key]["width"]) == expected[key].shape[:2] == found[key].shape[:2], key
        assert abs(found[key] - expected[key]).mean() < 3, key
    exported = Dataset.open(str(tmp_path / "out"))
    for shard in exported.shards:
        for record, image in with_images(exported, shard):
            assert image is not None
            with Pil.open(io.BytesIO(image.data)) as opened:
                assert opened.getexif().get(0x0112, 1) == 1
                assert abs(np.asarray(opened.convert("RGB")) - expected[record.key]).mean() < 3, record.key
    turned = len(files) * 3 // 4
    notes = load("llava").export(exported, str(tmp_path / "llava"), Options(map={"caption": "long"})).notes
    assert f"warning: the model saw {turned} images rotated by the EXIF orientation" in notes[-1]


def test_orientation_stored_changes_nothing(tmp_path: Path) -> None:
    source_of(tmp_path, {"turned": FILES["turned"], "plain": JPEG})
    data = pipeline_data(tmp_path, source={"path": f"{tmp_path}/source/*.tar", "orientation": "stored"})
    data["output"] |= {"format": "webdataset"}
    build = build_all(answer_all(data))
    row = pq.read_table(build / "images").to_pylist()[0]
    assert (row["key"], row["orientation"], row["width"], row["height"]) == ("turned", None, 64, 48)
    dataset = CaptionDataset(tmp_path / "out", batch_size=1, policy="raw")
    assert {dataset.sample(n).image for n in range(2)} == {FILES["turned"], JPEG}, "the source's bytes"
    assert read_manifest(LocalStore(tmp_path / "out"), f"builds/{build.name}")["pixels"]["turned"] == 0


@pytest.mark.parametrize("format", ["webdataset", "sidecar", "parquet"])
def test_validate_checks_images_and_decodes_them_on_request(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A build of an engine and a writer that did not look: JPEG bytes go into it as they are."""
    whole = originals()["jpeg progressive"]
    spoiled = whole[:2] + whole[2:].replace(b"\xff\xc4", b"\xff\xfe")  # header and end are whole, its tables are gone
    source_of(tmp_path, {"plain": JPEG, "cut": JPEG[:-2], "spoiled": spoiled})
    monkeypatch.setattr("recaption.source.base.Row.read_header", lambda row, data: None)
    pipeline = from_column(tmp_path)
    listed(pipeline)
    data = pipeline.model_dump(mode="json")
    data["output"]["format"] = format
    build_all(make_plan(config.validate(data)))
    found = [(p.kind, p.where.rpartition(", ")[2], p.what[:9]) for p in validate_output(str(tmp_path / "out"))]
    assert found == [("pixels", "cut", "truncated")]
    found = [(p.kind, p.where.rpartition(", ")[2]) for p in validate_output(str(tmp_path / "out"), pixels=True)]
    assert found == [("pixels", "cut"), ("pixels", "spoiled")]
