"""Exports with image files: what is written, and what is missing."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from samples import jpeg

from recaption.errors import UserError
from recaption.export import MODULES, WITHOUT_IMAGE_FILES, load
from recaption.export.base import Options
from recaption.export.dataset import Dataset
from recaption.export.image_files import as_jpeg
from recaption.export.images import ImageFile
from recaption.output.index import index_to_table
from recaption.output.paths import index_file
from recaption.types import Image as Listed
from recaption.types import Locator


def test_the_images_have_the_names_that_the_file_has(build: Any, plain: Any, exported: Any, problems: Any) -> None:
    dest, done = exported("llava", build([plain, {"raw": "no long caption"}, plain]), images="jpg")
    names = [row["image"] for row in json.loads((dest / "llava.json").read_text())]
    assert names == sorted(path.name for path in (dest / "images").iterdir()) == ["k0000.jpg", "k0002.jpg"]
    assert [(dest / "images" / name).read_bytes() for name in names] == [jpeg(0), jpeg(2)]
    assert f"--image_folder {dest}/images" in done.usage[0].arguments
    assert problems("llava", dest, images=None) == {}
    (dest / "images/k0002.jpg").unlink()
    assert problems("llava", dest, images=None) == {"missing images": "error"}
    assert problems("llava", dest / "llava.json", images=str(dest / "nowhere")) == {"missing images": "error"}


@pytest.mark.parametrize("name", ["llava", "dreamlip", "fg_clip", "monkey"])
def test_a_file_without_its_images_is_an_error(name: str, without_pixels: Any, plain: Any, exported: Any) -> None:
    dest, done = exported(name, without_pixels([plain]))
    found = list(load(name).validate(str(dest)))
    assert {(one.kind, one.severity) for one in found} == {("missing images", "error")}
    assert (
        "image files that are not in" in found[0].what
        and ": 1 of 1, for" in found[0].what
        and "--images jpg" in found[0].advice
    )
    assert any("--images jpg writes them" in note for note in done.notes)


def test_images_of_other_formats_become_jpegs(build: Any, plain: Any) -> None:
    png = io.BytesIO()
    Image.new("RGB", (48, 40), "red").save(png, "PNG")
    dataset = build([plain])
    record = next(dataset.records(dataset.shards[0]))
    made = as_jpeg(ImageFile("png", png.getvalue()), record)
    assert Image.open(io.BytesIO(made)).format == "JPEG"
    assert as_jpeg(ImageFile("jpg", b"as it is"), record) == b"as it is"


@pytest.fixture
def folder(build: Any, plain: Any, tmp_path: Path) -> tuple[Dataset, Path]:
    """A build whose output lists the files of a local folder; the last one has changed."""
    source = tmp_path / "source"
    source.mkdir()
    dataset = build([plain] * 3)
    listed = []
    for record in dataset.records(dataset.shards[0], "all"):
        file = source / f"photo {record.row}.jpeg"
        file.write_bytes(jpeg(record.row))
        place = Locator(path=str(file), size=file.stat().st_size + (record.row == 2))
        listed.append(
            Listed(key=record.key, source_key=file.name, shard="00000", row=record.row, sha256=record.sha256,
                   locator=place)
        )  # fmt: skip
    write_index(tmp_path / "out", listed)
    return dataset, source


def write_index(out: Path, listed: list[Listed]) -> None:
    import pyarrow.parquet as pq

    path = out / index_file("00000")
    path.parent.mkdir(exist_ok=True)
    pq.write_table(index_to_table(listed), path)


def test_links_point_to_the_files_of_the_source(folder: tuple[Dataset, Path], exported: Any, problems: Any) -> None:
    dataset, source = folder
    dest, done = exported("llava", dataset, images="symlink")
    assert done.left_out == {"the image is missing in the source, or has changed": 1}
    links = sorted((dest / "images").iterdir())
    assert [link.readlink() for link in links] == [source / "photo 0.jpeg", source / "photo 1.jpeg"]
    assert problems("llava", dest, images=None) == {}
    (source / "photo 0.jpeg").unlink()
    assert problems("llava", dest, images=None) == {"missing images": "error"}


def test_links_need_whole_local_files(folder: tuple[Dataset, Path], tmp_path: Path, exported: Any) -> None:
    dataset, source = folder
    part = Locator(path=str(source / "all.tar"), member="a.jpg", offset=512, size=9)
    record = next(dataset.records(dataset.shards[0]))
    listed = Listed(key=record.key, source_key="a", shard="00000", row=0, sha256=record.sha256, locator=part)
    write_index(tmp_path / "out", [listed])
    with pytest.raises(UserError, match=r"needs image files on a local disk, not .*all.tar; use --images jpg"):
        exported("llava", dataset, images="symlink")
    (tmp_path / "out" / index_file("00000")).unlink()
    with pytest.raises(UserError, match="needs the index of the source; use --images jpg"):
        exported("llava", dataset, images="symlink")
    assert not [path for path in (tmp_path / "one").rglob("*") if path.is_file() or path.is_symlink()]
    with pytest.raises(UserError, match="needs a local folder as DEST"):
        load("llava").export(dataset, "memory://bucket/x", Options(images="symlink"))


@pytest.mark.parametrize("name", sorted(WITHOUT_IMAGE_FILES))
def test_formats_without_image_files_refuse_the_option(
    name: str, golden: Path, tmp_path: Path, build: Any, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recaption.export.formats import adaptclipzs, cocu

    monkeypatch.setattr(cocu, "required", lambda *_: "scores")
    monkeypatch.setattr(cocu, "required_tables", lambda *_: {})
    monkeypatch.setattr(adaptclipzs, "only_table", lambda *_: {})
    with pytest.raises(UserError, match="--images jpg is for formats that name image files"):
        load(name).export(Dataset.open(str(golden)), str(tmp_path / "x"), Options(images="jpg"))
    assert name in MODULES
