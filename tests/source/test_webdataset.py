from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from recaption.errors import ImageError, ShardError, SourceError
from recaption.source import Source
from recaption.source import webdataset as ranges_module
from recaption.types import Image

Build = Callable[..., Source]


def only_shard(source: Source) -> list[Image]:
    (shard,) = source.shards()
    return source.index(shard)


@pytest.fixture
def shards(tmp_path: Path, write_tar: Callable[..., Path], img2dataset_sample: Callable[..., list]) -> Path:
    for shard in range(2):
        members = [member for row in range(3) for member in img2dataset_sample(shard, row, f"caption {shard} {row}")]
        write_tar(tmp_path / "tars" / f"{shard:05d}.tar", members)
        (tmp_path / "tars" / f"{shard:05d}.parquet").write_bytes(b"img2dataset's metadata")
        (tmp_path / "tars" / f"{shard:05d}_stats.json").write_text("{}")
    return tmp_path / "tars"


@pytest.mark.parametrize(
    "pattern", ["", "/{00000..00001}.tar", "/*.tar", "/0000?.tar", "/00000.tar::{}/00001.tar", "/{00000,00001}.tar"]
)
def test_folder_glob_braces_and_list_of_tars_give_the_same_source(shards: Path, source: Build, pattern: str) -> None:
    made = source(str(shards) + pattern.replace("{}/", f"{shards}/"))
    assert made.kind == "webdataset"
    assert [(s.id, s.number, s.path) for s in made.shards()] == [
        ("00000", 0, str(shards / "00000.tar")),
        ("00001", 1, str(shards / "00001.tar")),
    ]


def test_a_tar_of_img2dataset_is_read(shards: Path, source: Build, picture: Callable[..., bytes]) -> None:
    made = source(shards)
    images = made.index(list(made.shards())[1])
    assert [image.key for image in images] == ["000010000", "000010001", "000010002"]
    first = images[0]
    assert (first.source_key, first.shard, first.row) == ("000010000", "00001", 0)
    assert first.sha256 == hashlib.sha256(picture(1000)).hexdigest()
    assert (first.url, first.raw_caption) == ("http://example.org/000010000.jpg", "caption 1 0")
    assert first.columns["width"] == 24
    assert first.columns["error_message"] is None
    with open(first.locator.path, "rb") as file:
        file.seek(first.locator.offset)
        assert file.read(first.locator.size) == picture(1000)
    assert [(image, data) for image, data in made.read(images)] == [
        (image, picture(1000 + i)) for i, image in enumerate(images)
    ]
    assert made.columns() == {
        "txt", "url", "caption", "key", "status", "error_message", "width", "height", "exif"
    }  # fmt: skip


def test_a_source_can_be_pickled(shards: Path, source: Build) -> None:
    made = source(shards)
    again = pickle.loads(pickle.dumps(made))
    assert list(again.shards()) == list(made.shards())


def test_patterns_are_relative_to_the_working_directory_at_opening(
    shards: Path, source: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shards)
    made = source("{00000..00001}.tar")
    monkeypatch.chdir("/")
    assert [image.row for shard in made.shards() for image in made.index(shard)] == [0, 1, 2, 0, 1, 2]


def test_shard_ids_contain_subfolders(tmp_path: Path, write_tar: Callable[..., Path], source: Build) -> None:
    for folder in ("b", "a"):
        write_tar(tmp_path / folder / "0.tar", [])
    assert [shard.id for shard in source(tmp_path / "{b,a}" / "0.tar").shards()] == ["b__0", "a__0"]
    assert [shard.id for shard in source(tmp_path / "**" / "*.tar").shards()] == ["a__0", "b__0"]
    assert [shard.id for shard in source(f"{tmp_path}/b/0.tar::{tmp_path}/a/0.tar").shards()] == ["b__0", "a__0"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("{00000..00009}.tar", r"names 10 files; 8 of them missing: \S+00002.tar, .*…"),
        ("00007.tar", "there is no file"),
        ("x*.tar", "no file matches"),
        ("{0000,x}*.tar", r"no file matches \S+x\*"),
        ("{00000,00000}.tar", "twice"),
        ("00000.tar.gz", "compressed"),
        ("00000_stats.json", "neither a tar nor a Parquet"),
    ],
)
def test_wrong_paths_are_explained(shards: Path, source: Build, pattern: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        list(source(shards / pattern).shards())


def test_captions_come_from_json_and_text_members(
    tmp_path: Path, write_tar: Callable[..., Path], source: Build
) -> None:
    def sample(key: str, meta: object, text: bytes | None = None) -> list[tuple[str, bytes]]:
        members = [(f"{key}.jpg", key.encode()), (f"{key}.json", json.dumps(meta).encode())]
        return [*members, (f"{key}.txt", text)] if text is not None else members

    path = write_tar(
        tmp_path / "x.tar",
        [
            *sample("json", {"caption": "from json"}, b"from txt"),
            *sample("text", {"caption": None}, "from tëxt\n".encode()),
            *sample("none", {"caption": None}, b""),
            *sample("blank", {"caption": "  "}),
            *sample("list", {"caption": ["", "first", "second"]}),
            *sample("nan", {"caption": float("nan"), "alt": "other"}),
            *sample("no", {"caption": "NA", "alt": ""}),
            *sample("lines", {}, b"one\r\n\ntwo\nthree\n"),
            *sample("both", {"caption": "first\nsecond line"}, b"a\nb\n"),
        ],
    )
    found = {image.key: image.raw_captions for image in only_shard(source(path))}
    assert (found["list"], found["lines"]) == (("first", "second"), ("one", "two", "three"))
    assert found["both"] == ("first\nsecond line",), "a line end in a JSON text is a part of the text"
    assert [image.raw_caption for image in only_shard(source(path))] == [
        "from json", "from tëxt\n", None, None, "first", None, "NA", "one", "first\nsecond line"
    ]  # fmt: skip
    assert [image.raw_caption for image in only_shard(source(path, raw_caption=None))] == [None] * 9
    assert [image.raw_caption for image in only_shard(source(path, raw_caption="alt"))][5:7] == ["other", None]
    with pytest.raises(SourceError, match=r"raw_caption: .* no column 'captoin'; it has alt, caption, txt"):
        source(path, raw_caption="captoin").columns()


def test_columns_hold_clean_and_small_json(tmp_path: Path, write_tar: Callable[..., Path], source: Build) -> None:
    meta = rb'{"a": NaN, "b": "\ud800x", "deep": [1, {"c": 1e999}], "exif": "%s"}' % (b"e" * 70_000)
    path = write_tar(
        tmp_path / "x.tar",
        [
            ("1.jpg", b"1"),
            ("1.json", meta),
            ("1.tags.json", b'["x"]'),
            ("1.cls", b"7"),
            ("1.npy", b"\x93"),
            ("2.jpg", b"2"),
            ("2.json", b"{broken"),
            ("3.jpg", b"3"),
            ("3.json", b"[" * 100_000),
        ],
    )
    images = only_shard(source(path))
    assert images[0].columns == {
        "a": None,
        "b": "\ufffdx",
        "deep": [1, {"c": None}],
        "tags": ["x"],
        "cls": "7",
        "_dropped": ["exif"],
    }
    assert images[1].columns == images[2].columns == {"_dropped": ["json"]}
    assert [image.reason for image in images] == [None] * 3
    assert source(path).columns() == {"a", "b", "deep", "tags", "cls"}


def test_a_key_ends_at_the_first_dot(tmp_path: Path, write_tar: Callable[..., Path], source: Build) -> None:
    names = [
        "plain_key-1.jpg",
        "ä.jpg",
        "dir/000.jpg",
        "../../etc/passwd.jpg",
        "x y.JPG",
        "dup.jpg",
        "o.jpg",
        "dup.png",
    ]
    path = write_tar(tmp_path / "x.tar", [(name, b"1") for name in names])
    write_tar(tmp_path / "w.tar", [])
    made = source(tmp_path)
    images = made.index(list(made.shards())[1])
    assert path.name == "x.tar"
    assert [(image.key, image.source_key) for image in images] == [
        ("plain_key-1", "plain_key-1"),
        ("000001_000001", "ä"),
        ("000001_000002", "dir/000"),
        ("000001_000003", "../../etc/passwd"),
        ("000001_000004", "x y"),
        ("000001_000005", "dup"),
        ("o", "o"),
        ("000001_000007", "dup"),
    ]


def test_odd_samples_become_rows_with_a_reason(tmp_path: Path, source: Build) -> None:
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as tar:

        def add(name: str, data: bytes = b"1", kind: bytes = tarfile.REGTYPE) -> None:
            info = tarfile.TarInfo(name)
            info.type, info.size, info.linkname = kind, len(data) if kind == tarfile.REGTYPE else 0, "/etc/passwd"
            tar.addfile(info, io.BytesIO(data))

        add("README")  # no sample: no suffix
        add("__meta__/x.json")  # no sample: webdataset's own
        add("a.jpg")
        add("b.jpg")
        add("a.json", b"{}")  # not beside a.jpg
        add("c.txt")
        add("d.jpg", kind=tarfile.SYMTYPE)
        add("d.txt")
        add("e.jpg", b"")
        add("f.jpg", b"first")
        add("f.jpg", b"second")  # the same again
        add("g.tar", b"")
        add("h.png", b"png")
        add("h.jpg", b"jpg")  # two images: jpg comes first
        add("my.photo.jpg")
        add("k.jpg", kind=tarfile.DIRTYPE)
    rows = [(image.source_key, image.reason, image.detail) for image in only_shard(source(path))]
    assert [(key, reason) for key, reason, _ in rows] == [
        ("a", None),
        ("b", None),
        ("a", "missing_image"),
        ("c", "missing_image"),
        ("d", "missing_image"),
        ("e", "empty"),
        ("f", None),
        ("f", None),
        ("g", "missing_image"),
        ("h", None),
        ("my", "missing_image"),
    ]
    assert "are not adjacent" in (rows[2][2] or "")
    assert "has txt and none of jpg" in (rows[3][2] or "")
    assert "symbolic link" in (rows[4][2] or "")
    assert "photo.jpg" in (rows[10][2] or "")
    images = only_shard(source(path))
    assert [data for _, data in source(path).read([i for i in images if i.source_key in "fh"])] == [
        b"first",
        b"second",
        b"jpg",
    ]
    assert all(image.sha256 == "" for image in images if image.reason)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        # what is left: bytes of a three-sample tar, each sample being .jpg (1,000 bytes) and .json
        (512 + 100, [("s0", "unreadable")]),
        (512 + 1024, [("s0", None), ("", "unreadable")]),
        (512 + 1024 + 512 + 1, [("s0", "unreadable")]),
        (2560 + 512 + 10, [("s0", None), ("s1", "unreadable")]),
        (2560, [("s0", None), ("", "unreadable")]),
        (2 * 2560 + 100, [("s0", None), ("s1", None), ("", "unreadable")]),
        (3 * 2560, [("s0", None), ("s1", None), ("s2", None), ("", "unreadable")]),
        (3 * 2560 + 1024, [("s0", None), ("s1", None), ("s2", None)]),
        (0, [("", "unreadable")]),
    ],
)
def test_a_cut_off_tar_keeps_what_is_whole(
    keep: int, expected: list, tmp_path: Path, write_tar: Callable[..., Path], source: Build
) -> None:
    members = [m for i in range(3) for m in ((f"s{i}.jpg", b"1" * 1000), (f"s{i}.json", b'{"caption": "x"}'))]
    path = write_tar(tmp_path / "x.tar", members)
    path.write_bytes(path.read_bytes()[:keep])
    images = only_shard(source(path))
    assert [(image.source_key, image.reason) for image in images] == expected
    assert len({image.key for image in images}) == len(images)


def test_a_damaged_header_is_one_row(tmp_path: Path, write_tar: Callable[..., Path], source: Build) -> None:
    path = write_tar(tmp_path / "x.tar", [(f"s{i}.jpg", b"1" * 1000) for i in range(4)])
    data = bytearray(path.read_bytes())
    data[2 * 1536 + 3] ^= 0xFF
    path.write_bytes(data)
    rows = [(image.source_key, image.reason) for image in only_shard(source(path))]
    assert rows == [("s0", None), ("s1", None), ("", "unreadable")]


def test_an_html_page_named_tar_is_one_row_and_an_empty_tar_none(
    tmp_path: Path, write_tar: Callable[..., Path], source: Build
) -> None:
    (tmp_path / "a.tar").write_bytes(b"<html>404 Not Found</html>" * 100)
    write_tar(tmp_path / "b.tar", [])
    made = source(tmp_path)
    assert [[image.reason for image in made.index(shard)] for shard in made.shards()] == [["unreadable"], []]
    assert made.columns() == frozenset()


def test_changed_bytes_are_an_error_of_the_image(shards: Path, source: Build) -> None:
    path = shards / "00000.tar"
    made = source(path)
    images = only_shard(made)
    data = bytearray(path.read_bytes())
    data[images[1].locator.offset + 5] ^= 1
    path.write_bytes(data[: images[2].locator.offset + 3])
    results = [data for _, data in made.read(images)]
    assert isinstance(results[0], bytes)
    assert [r.reason for r in results[1:] if isinstance(r, ImageError)] == ["changed", "changed"]
    path.unlink()
    with pytest.raises(ShardError, match="No such file"):
        list(made.read(images))


def test_one_bad_spot_costs_one_image(shards: Path, source: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    made = source(shards / "00000.tar")
    images = only_shard(made)
    bad = images[1].locator.offset
    real = ranges_module.read_range

    def failing(path: str, start: int, end: int) -> bytes:
        if start <= bad < end:
            raise ShardError("input/output error")
        return real(path, start, end)

    monkeypatch.setattr(ranges_module, "read_range", failing)
    results = [data for _, data in made.read(images)]
    assert [type(r) for r in results] == [bytes, ImageError, bytes]
    assert results[1].reason == "unreadable"  # type: ignore[union-attr]
    monkeypatch.setattr(ranges_module, "read_range", lambda *_: failing("", bad, bad + 1))
    with pytest.raises(ShardError):
        list(made.read(images))


def test_ranges_are_contiguous_and_bounded(shards: Path, source: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    made = source(shards / "00000.tar")
    images = only_shard(made)
    assert len(list(ranges_module.group_ranges(images))) == 1
    monkeypatch.setattr(ranges_module, "MAX_RANGE", images[1].locator.offset + images[1].locator.size - 512)
    assert [len(group) for group in ranges_module.group_ranges(images)] == [2, 1]
    monkeypatch.setattr(ranges_module, "MAX_GAP", 0)
    assert [len(group) for group in ranges_module.group_ranges(images)] == [1, 1, 1]
    assert [image for image, data in made.read(images) if isinstance(data, bytes)] == images
    assert [image for image, data in made.read(images[::-1]) if isinstance(data, bytes)] == images[::-1]


def test_tars_may_be_remote(shards: Path, source: Build, picture: Callable[..., bytes]) -> None:
    memory = fsspec.filesystem("memory")
    for path in sorted(shards.glob("*.tar")):
        memory.pipe_file(f"/bucket/cc/{path.name}", path.read_bytes())
    for pattern in ("memory://bucket/cc/{00000..00001}.tar", "memory://bucket/cc/*.tar", "memory://bucket/cc"):
        made = source(pattern)
        listed = list(made.shards())
        assert [shard.id for shard in listed] == ["00000", "00001"]
        images = made.index(listed[1])
        assert images[0].locator.path == "memory://bucket/cc/00001.tar"
        assert [data for _, data in made.read(images)] == [picture(1000 + i) for i in range(3)]
        assert made.signature(listed[0]) == made.signature(listed[0]) != made.signature(listed[1])
    with pytest.raises(SourceError, match="names 10 files; 8 of them missing"):
        list(source("memory://bucket/cc/{00000..00009}.tar").shards())
    with pytest.raises(SourceError, match="Protocol not known"):
        list(source("nosuch://bucket/{0..1}.tar").shards())
    memory.rm("/bucket", recursive=True)


def test_signatures_follow_file_and_settings(shards: Path, source: Build) -> None:
    made = source(shards)
    first, second = made.shards()
    before = made.signature(first)
    assert before != made.signature(second)
    assert before != source(shards, raw_caption=None).signature(first)
    assert before == source(shards).signature(first)
    with open(first.path, "ab") as file:
        file.write(b"\0")
    assert before != made.signature(first)
