"""Malicious sources give a row with a reason or a clear error, never a crash, and never read another file."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption.errors import SourceError
from recaption.output.index import index_from_table, index_to_table
from recaption.source import Source
from recaption.types import Image

Build = Callable[..., Source]


def read_all(made: Source) -> list[Image]:
    """Index, store the index, read what it says can be read."""
    found = []
    for shard in made.shards():
        images = made.index(shard)
        assert index_from_table(index_to_table(images), shard.id) == images
        usable = [image for image in images if image.reason is None]
        assert all(isinstance(data, bytes) for _, data in made.read(usable))
        found += images
    assert len({image.key for image in found}) == len(found)
    assert all(image.key.replace("-", "_").isidentifier() or image.key[0].isdigit() for image in found)
    return found


def test_names_of_members_never_become_paths(tmp_path: Path, write_tar: Callable[..., Path], source: Build) -> None:
    """Keys are plain whatever stands in the tar; what it is called there is kept beside."""
    names = ["../../etc/cron.d/x", "/abs/y", "a/../../b", "line\nbreak", "bidi\u202egpj", "x" * 3000, "'; DROP TABLE"]
    path = write_tar(tmp_path / "in/x.tar", [(f"{name}.jpg", b"1") for name in names])
    images = read_all(source(path))
    assert [image.source_key for image in images] == names and all(image.reason is None for image in images)
    assert {image.key for image in images} == {f"000000_{row:06d}" for row in range(len(names))}
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["in", "in/x.tar"]


def test_links_and_devices_are_not_read(tmp_path: Path, source: Build) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (("sym", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("null", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(f"{name}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
            tar.addfile(tarfile.TarInfo(f"{name}.txt"))
    images = read_all(source(tmp_path / "x.tar"))
    assert [(image.source_key, image.reason, image.sha256) for image in images] == [
        ("sym", "missing_image", ""),
        ("hard", "missing_image", ""),
        ("null", "missing_image", ""),
    ]


@pytest.mark.parametrize("size", [2**33 - 1, 10**17])
def test_a_member_with_a_huge_declared_size_uses_no_memory(tmp_path: Path, source: Build, size: int) -> None:
    good, huge = tarfile.TarInfo("a.jpg"), tarfile.TarInfo("b.jpg")
    good.size, huge.size = 1, size
    head = good.tobuf() + b"1".ljust(512, b"\0")
    (tmp_path / "x.tar").write_bytes(head + huge.tobuf(tarfile.PAX_FORMAT) + bytes(2048))
    assert [(i.source_key, i.reason) for i in read_all(source(tmp_path / "x.tar"))] == [
        ("a", None),
        ("b", "unreadable"),
    ]


def test_repeated_dotted_separated_and_cut_keys(tmp_path: Path, write_tar: Callable[..., Path], source: Build) -> None:
    names = ["a.jpg", "a.jpg", "b.c.jpg", "b.d.jpg", "e.txt", "f.jpg", "e.jpg", "a.json"]
    path = write_tar(tmp_path / "x.tar", [(name, b"{}") for name in names])
    path.write_bytes(path.read_bytes()[: 2 * 512 * len(names) - 512])
    images = read_all(source(path))
    assert [(image.source_key, image.reason) for image in images] == [
        ("a", None),
        ("a", None),
        ("b", "missing_image"),
        ("e", "missing_image"),
        ("f", None),
        ("e", None),
        ("a", "unreadable"),
    ]


@pytest.mark.parametrize(
    ("name", "data", "caption"),
    [
        ("txt", b"NUL \0 in it", "NUL \0 in it"),
        ("txt", b"surrogate \xed\xa0\x80 and latin \xe9", "surrogate \ufffd\ufffd\ufffd and latin \ufffd"),
        ("txt", "\u202ebidi\u2066".encode(), "\u202ebidi\u2066"),
        ("txt", b"x" * 2**20, "x" * 2**16),
        ("json", b'{"caption": "\\ud800 alone"}', "\ufffd alone"),
        ("json", b'{"caption": 1e999}', None),
        ("json", b'{"caption": ' + b'{"a":' * 5000 + b"1" + b"}" * 5001, None),
        ("json", b'{"n": ' + b"9" * 5000 + b', "caption": "x"}', None),
        ("json", b"[" * 100_000, None),
        ("json", b'{"caption": ["\\u0000"]}', "\0"),
    ],
    ids=range(10),
)
def test_malformed_texts_do_not_stop_a_shard(
    name: str, data: bytes, caption: str | None, tmp_path: Path, write_tar: Callable[..., Path], source: Build
) -> None:
    path = write_tar(tmp_path / "x.tar", [("a.jpg", b"1"), (f"a.{name}", data)])
    (image,) = read_all(source(path))
    assert (image.reason, image.raw_caption) == (None, caption)


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
LONG = pa.array(["x" * 2**20, None])
JPG = pa.array([b"\xff\xd8\xff 1", b"\xff\xd8\xff 2"])


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"jpg": pa.array([1, 2])}, "int64, which holds no images"),
        ({"jpg": pa.array(["a", "b"])}, "string, which holds no images"),
        ({"jpg": pa.array([[b"a"], [b"b"]])}, "which holds no images"),
        ({"image": pa.array([{"path": "../../etc/passwd"}] * 2)}, "which holds no images"),
        ({"image": pa.array([{"path": "/etc/passwd"}] * 2, IMAGE)}, ["missing_image"] * 2),
        ({"jpg": JPG, "caption": pa.array([1, 2])}, [None, None]),
        ({"jpg": JPG, "caption": pa.array([{"a": 1}, None])}, [None, None]),
        ({"jpg": JPG, "caption": pa.array([b"\xff", b"x"])}, [None, None]),
        ({"jpg": JPG, "key": pa.array([["a"], ["b"]])}, [None, None]),
        ({"jpg": JPG, "key": pa.array(["../../a", "b\0"])}, [None, None]),
        ({"jpg": JPG, "far": pa.array([2**31 - 1, 1], pa.date32())}, [None] * 2),
        ({"jpg": JPG, "far": pa.array([2**62, 1], pa.timestamp("us"))}, [None, None]),
        ({"jpg": JPG, "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64()))}, [None, None]),
        ({"jpg": JPG, "status": pa.array([None, "no"]), "error_message": LONG}, ["source_failed"] * 2),
    ],
    ids=range(14),
)  # fmt: skip
def test_parquet_columns_of_wrong_types_are_refused(
    columns: dict[str, Any], expected: Any, tmp_path: Path, source: Build
) -> None:
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    if isinstance(expected, str):
        with pytest.raises(SourceError, match=expected):
            read_all(source(tmp_path / "x.parquet"))
    else:
        assert [image.reason for image in read_all(source(tmp_path / "x.parquet"))] == expected


def test_a_folder_with_links_pipes_and_folders_named_as_images(
    tmp_path: Path, source: Build, picture: Callable[..., bytes]
) -> None:
    """A pipe is not waited for, a device not read for ever, a link to nowhere no crash."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "nowhere.jpg").symlink_to("/nowhere/at/all")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "\u202egpj.jpg").write_bytes(picture(1))
    rows = {image.source_key: image.reason for image in read_all(source(tmp_path))}
    assert rows == {"nowhere": "unreadable", "pipe": "unreadable", "zero": "unreadable", "\u202egpj": None}


def test_random_bytes_never_crash_the_reader(tmp_path: Path, source: Build) -> None:
    noise = io.BytesIO()
    with tarfile.open(fileobj=noise, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("a.jpg"))
    for name, data in (("a.tar", noise.getvalue()[:700]), ("b.tar", os.urandom(5000)), ("c.tar", b"")):
        (tmp_path / name).write_bytes(data)
    assert {image.reason for image in read_all(source(tmp_path))} == {"empty", "unreadable"}
