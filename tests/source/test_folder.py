from __future__ import annotations

import hashlib
import json
import os
import pickle
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption.errors import ImageError, SourceError
from recaption.io.files import REQUESTS, read_all
from recaption.io.store import LocalStore
from recaption.output.folder_rule import record_rule
from recaption.output.index import index_to_table
from recaption.source import Source
from recaption.source.keys import POSITIONS, FolderRule, path_key
from recaption.types import Image

Build = Callable[..., Source]


def rows(source: Source) -> list[Image]:
    return [image for shard in source.shards() for image in source.index(shard)]


@pytest.fixture
def photos(tmp_path: Path, picture: Callable[..., bytes]) -> Path:
    folder = tmp_path / "my photos"
    for i, name in enumerate(["b.jpg", "a.PNG", "sub/c.webp", "sub-2/d.jpeg", ".hidden.jpg", ".git/x.jpg", "note.txt"]):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(i))
    return folder


def test_all_images_of_a_folder_are_indexed_and_read(
    photos: Path, source: Build, picture: Callable[..., bytes]
) -> None:
    made = source(photos)
    assert made.kind == "folder"
    (shard,) = made.shards()
    assert shard.id.startswith("my-photos-")
    assert shard.id.endswith("-000000")
    images = made.index(shard)
    assert [(image.key, image.source_key) for image in images] == [
        (path_key("a.PNG"), "a"),
        (path_key("b.jpg"), "b"),
        (path_key("sub/c.webp"), "sub/c"),
        (path_key("sub-2/d.jpeg"), "sub-2/d"),
    ]
    assert images[3].key == f"sub-2-d-{hashlib.sha256(b'sub-2/d.jpeg').hexdigest()[:16]}"
    assert images[1].sha256 == hashlib.sha256(picture(0)).hexdigest()
    assert images[1].locator.path == f"{photos}/b.jpg"
    assert [data for _, data in made.read(images)] == [picture(1), picture(0), picture(2), picture(3)]
    assert made.columns() == frozenset()
    assert images[0].raw_caption is None
    assert list(pickle.loads(pickle.dumps(made)).shards()) == [shard]
    assert source(str(photos) + "/").shards().__next__() == shard


def test_outputs_without_the_rule_by_path_keep_keys_and_shards(
    photos: Path, tmp_path: Path, source: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recaption.source.folder.PART_SIZE", 3)
    made = source(photos, rule=POSITIONS)
    assert made.key_rule == "source"
    shards = list(made.shards())
    assert [(s.number, s.first, s.count) for s in shards] == [(0, 0, 3), (1, 3, 1)]
    assert [[image.key for image in made.index(shard)] for shard in shards] == [
        ["a", "b", "000000_000002"],
        ["000001_000000"],
    ]
    again = pickle.loads(pickle.dumps(made))
    assert [image.key for image in again.index(shards[1])] == ["000001_000000"]


def numbered(folder: Path, numbers: Iterable[int]) -> None:
    for number in numbers:
        path = folder / f"{number % 7}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)


def places(source: Source) -> dict[str, tuple[str, str]]:
    """Key and shard by path."""
    return {image.locator.path: (image.key, image.shard) for image in rows(source)}


def test_added_and_removed_files_do_not_change_keys_and_shards_of_others(
    tmp_path: Path, source: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recaption.source.folder.PART_SIZE", 20)
    folder = tmp_path / "photos[1]"
    numbered(folder, range(100))
    made = source(folder)
    shards = list(made.shards())
    assert [shard.id for shard in shards] == [f"{shards[0].id[:-7]}-{n:06d}" for n in range(6)]
    assert [shard.count for shard in shards] == [len(made.index(shard)) for shard in shards]
    before = places(made)
    assert len(before) == 100
    (folder / "0" / "00000.jpg").unlink()
    (folder / "link.jpg").symlink_to(folder / "1" / "00001.jpg")
    numbered(folder, range(100, 300))
    after = places(source(folder, rule=made.rule))
    assert len(after) == 300
    assert {path: place for path, place in after.items() if path in before} == {
        path: place for path, place in before.items() if not path.endswith("/00000.jpg")
    }


def test_a_folder_that_outgrows_its_shards_gets_more_and_keeps_its_keys(
    tmp_path: Path, source: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recaption.source.folder.PART_SIZE", 20)
    numbered(tmp_path / "p", range(20))
    store = LocalStore(tmp_path / "out")
    made = source(tmp_path / "p", store=store)
    record_rule(store, made.rule)
    before = places(made)
    numbered(tmp_path / "p", range(20, 80))
    assert places(source(tmp_path / "p", store=store)).items() >= before.items()
    numbered(tmp_path / "p", range(80, 81))
    grown = source(tmp_path / "p", store=store)
    assert grown.rule == FolderRule(keys="path", shards=5, beside=True)
    assert max(shard.count or 0 for shard in grown.shards()) <= 30
    after = places(grown)
    assert {path: after[path][0] for path in before} == {path: key for path, (key, _) in before.items()}


TABLE = [
    {"file_name": "a.PNG", "caption": "None", "n": "1"},
    {"file_name": "./sub/c.webp", "caption": "a, \"quoted\"\nline", "n": "NA"},
    {"file_name": "gone.jpg", "caption": "", "n": ""},
    {"file_name": "note.txt", "caption": "007", "n": "x"},
    {"file_name": "../secret.jpg", "caption": "x", "n": "x"},
]  # fmt: skip


def write_table(path: Path) -> None:
    if path.suffix == ".jsonl":
        path.write_text("\n".join(map(json.dumps, TABLE)) + "\n\n")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(TABLE), path)
    else:
        quoted = (",".join('"' + value.replace('"', '""') + '"' for value in row.values()) for row in TABLE)
        path.write_text("\ufefffile_name,caption,n\r\n" + "\r\n".join(quoted), "utf-8")


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("found", [True, False])
def test_a_table_of_captions(
    photos: Path, tmp_path: Path, source: Build, picture: Callable[..., bytes], suffix: str, found: bool
) -> None:
    path = (photos / "metadata" if found else tmp_path / "captions").with_suffix(suffix)
    write_table(path)
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    made = source(photos) if found else source(photos, captions=str(path))
    assert made.kind == "folder"
    images = {image.source_key: image for image in rows(made)}
    assert list(images) == ["../secret", "a", "b", "gone", "note", "sub/c", "sub-2/d"]
    assert [image.raw_caption for image in images.values()] == [
        "x", "None", None, None, "007", "a, \"quoted\"\nline", None
    ]  # fmt: skip
    assert images["sub/c"].columns == {"caption": "a, \"quoted\"\nline", "n": "NA"}  # fmt: skip
    assert images["gone"].reason == images["../secret"].reason == "missing_image"
    assert "is outside" in (images["../secret"].detail or "")
    assert images["note"].sha256 == hashlib.sha256(picture(6)).hexdigest()
    assert made.columns() == {"caption", "n"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("metadata.csv", "name,caption\na.PNG,x\n", "no column file_name; it has name, caption"),
        (
            "metadata.csv",
            "\ufefffile_name;caption\r\na.PNG;x\r\n",
            "file_name;caption. Its columns are separated by semicolons",
        ),
        ("metadata.csv", "file_name\tcaption\na.PNG\tx\n", "separated by tabs: separate them by commas"),
        ("metadata.csv", "file_name,caption\na.PNG,a red, round ball\n", "line 2: 3 cells for 2 columns"),
        ("metadata.csv", "file_name,caption\na.PNG,x\n./a.PNG,y\n", "line 3: a.PNG is named twice"),
        ("metadata.csv", 'file_name,caption\na.PNG,"open\n', "line 2"),
        ("metadata.jsonl", '{"file_name": "a.PNG"}\n{broken\n', "line 2 is not JSON"),
        ("metadata.jsonl", '["a.PNG"]\n', "expected an object"),
        ("metadata.jsonl", '{"file_name": 7}\n', "line 1: no text in file_name"),
        ("metadata.parquet", "no parquet", "not a readable Parquet"),
    ],
)
def test_malformed_tables_are_explained(photos: Path, source: Build, name: str, text: str, message: str) -> None:
    (photos / name).write_text(text)
    with pytest.raises(SourceError, match=message):
        list(source(photos, format="folder").shards())


def test_wrong_settings_are_explained(photos: Path, source: Build, tmp_path: Path) -> None:
    (tmp_path / "captions.xlsx").write_bytes(b"")
    for settings, message in (
        ({"captions": "nowhere.csv"}, r"there is no file nowhere\.csv or .*my photos/nowhere\.csv"),
        ({"captions": str(tmp_path / "captions.xlsx")}, r"allowed: \.csv"),
    ):
        with pytest.raises(SourceError, match=message):
            list(source(photos, **settings).shards())
    (photos / "metadata.csv").write_text("file_name,text\na.PNG,x\n")
    with pytest.raises(SourceError, match="no column 'alt'; it has text"):
        source(photos, raw_caption="alt").columns()
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"no usable files in .*Allowed"):
        source(tmp_path / "empty")
    with pytest.raises(SourceError, match=r"names image files\. Give their folder"):
        source(photos / "*.jpg")
    with pytest.raises(SourceError, match="there is no file"):
        source(tmp_path / "nowhere")
    with pytest.raises(SourceError, match="one existing folder"):
        source(tmp_path / "nowhere", format="folder")
    with pytest.raises(SourceError, match=r"no \.tar file in"):
        source(photos, format="webdataset")


def test_files_that_change_between_index_and_read_are_errors_of_one_image(photos: Path, source: Build) -> None:
    (photos / "empty.jpg").write_bytes(b"")
    made = source(photos)
    images = rows(made)
    assert [image.reason for image in images if image.source_key == "empty"] == ["empty"]
    usable = [image for image in images if image.reason is None]
    (photos / "a.PNG").unlink()
    (photos / "b.jpg").write_bytes(b"other")
    results = [data for _, data in made.read(usable)]
    assert [getattr(result, "reason", None) for result in results] == ["unreadable", "changed", None, None]
    assert all(isinstance(result, bytes | ImageError) for result in results)


def test_a_name_that_is_not_utf_8_rejects_one_image(
    tmp_path: Path, source: Build, picture: Callable[..., bytes]
) -> None:
    (tmp_path / "a.jpg").write_bytes(picture(1))
    try:
        Path(os.fsdecode(bytes(tmp_path) + b"/b\xff.jpg")).write_bytes(picture(2))
    except OSError:
        pytest.skip("this file system takes no such name")
    bad, good = sorted(rows(source(tmp_path)), key=lambda image: image.reason is None)
    assert (good.source_key, good.reason) == ("a", None)
    assert (bad.source_key, bad.reason) == ("b\\xff", "unreadable") and "not UTF-8" in (bad.detail or "")
    assert index_to_table([bad, good]).num_rows == 2


def test_a_folder_may_be_remote(photos: Path, source: Build, picture: Callable[..., bytes]) -> None:
    memory = fsspec.filesystem("memory")
    for name in ("b.jpg", "sub/c.webp"):
        memory.pipe_file(f"/pics/all/{name}", (photos / name).read_bytes())
    memory.pipe_file("/pics/all/metadata.csv", b"file_name,caption\nsub/c.webp,x\n")
    made = source("memory://pics/all")
    images = rows(made)
    assert [(image.source_key, image.raw_caption) for image in images] == [("b", None), ("sub/c", "x")]
    assert [data for _, data in made.read(images)] == [picture(0), picture(2)]
    memory.rm("/pics", recursive=True)


def test_files_of_an_object_store_are_read_several_at_a_time_and_those_of_a_disk_one_by_one(
    source: Build, picture: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"{number:02d}.jpg" for number in range(2 * REQUESTS)]
    memory = fsspec.filesystem("memory")
    for number, name in enumerate(names):
        memory.pipe_file(f"/many/all/{name}", picture(number))
        (tmp_path / name).write_bytes(picture(number))
    together = threading.Barrier(REQUESTS, timeout=120)  # broken unless so many wait for each other

    def read(path: str) -> bytes:
        if "://" in path:
            together.wait()
        else:
            assert threading.current_thread() is threading.main_thread()
        return read_all(path)

    monkeypatch.setattr("recaption.source.folder.read_all", read)
    for made in (source("memory://many/all"), source(tmp_path)):
        images = rows(made)
        assert [image.source_key for image in images] == [name[:2] for name in names]
        assert [data for _, data in made.read(images)] == [picture(number) for number in range(2 * REQUESTS)]
    memory.rm("/many", recursive=True)


def beside(folder: Path, picture: Callable[..., bytes]) -> None:
    """The layouts of img2dataset ("files") and of kohya's scripts, and files that belong to no image."""
    for number, name in enumerate(["a.jpg", "b.PNG", "sub/c.jpg", "sub/d.e.jpg", "named.jpg", "alone.jpg"]):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture(number))
    (folder / "a.txt").write_text("a red kite\n\na kite in the sky\n")
    (folder / "a.json").write_text('{"caption": "from json", "url": "https://example.org/a.jpg", "clip": 0.3}')
    (folder / "b.txt").write_text("\ufeffone line", "utf-8")
    (folder / "sub/c.TXT").write_text("first\nsecond")
    (folder / "sub/c.json").write_text("[broken")
    (folder / "sub/d.e.caption").write_text("dots")
    (folder / "named.txt").write_text("not taken: a table names the image")
    (folder / "README.txt").write_text("of no image")
    (folder / "metadata.csv").write_text("file_name,caption\nnamed.jpg,of the table\n")


def test_text_and_json_beside_an_image_are_its_columns(
    tmp_path: Path, picture: Callable[..., bytes], source: Build
) -> None:
    beside(tmp_path, picture)
    made = source(tmp_path, format="folder")
    found = {image.source_key: image for shard in made.shards() for image in made.index(shard)}
    assert {key: image.raw_captions for key, image in found.items()} == {
        "a": ("from json",), "b": ("one line",), "sub/c": ("first", "second"), "sub/d.e": ("dots",),
        "named": ("of the table",), "alone": (),
    }  # fmt: skip
    assert found["a"].columns["txt"] == "a red kite\n\na kite in the sky\n"
    assert found["a"].url == "https://example.org/a.jpg" and found["a"].columns["clip"] == 0.3
    assert found["sub/c"].columns == {"txt": "first\nsecond", "_dropped": ["json"]}
    assert found["sub/d.e"].columns == {"caption": "dots"}
    assert found["named"].columns == {"caption": "of the table"}
    assert (found["alone"].columns, found["alone"].detail) == ({}, "no table names this image")
    assert made.columns() == {"caption", "txt", "url", "clip"}
    assert made.unused() == [
        "files that are not images: 2 .txt",
        "tables, for images that they do not name: 1 (a generation that needs a column rejects them as not_in_table)",
    ]
    (lines,) = (image for image in source(tmp_path, format="folder", raw_caption="txt").index(next(made.shards()))
                if image.source_key == "a")  # fmt: skip
    assert lines.raw_captions == ("a red kite", "a kite in the sky")


def test_an_output_that_predates_files_beside_images_keeps_its_columns(
    tmp_path: Path, picture: Callable[..., bytes], source: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside(tmp_path, picture)
    store = LocalStore(tmp_path / ".out")
    store.put("source.json", b'{"keys": "path", "shards": 1}')
    old, new = source(tmp_path, format="folder", store=store), source(tmp_path, format="folder")
    images, others = old.index(next(old.shards())), new.index(next(new.shards()))
    assert [image.key for image in images] == [image.key for image in others]
    assert [image.columns for image in images if image.source_key != "named"] == [{}] * 5
    assert old.columns() == {"caption"}
    assert old.unused()[1] == (
        "of these beside an image: 3 .txt, 2 .json, 1 .caption (this output predates reading them)"
    )
    monkeypatch.setattr("recaption.source.folder._GROWTH", 0)  # it gets more shards: the rule stays
    assert source(tmp_path, format="folder", store=store).rule == FolderRule(keys="path", shards=1)
