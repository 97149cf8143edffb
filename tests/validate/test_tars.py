"""Problems of data files in WebDataset form."""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from damage import KITE, check_found, first_tag, flip, found, in_sample, in_tar, replaced_by, seal, truncated

from recaption.types import Record


def moved(record: Record) -> Record:
    """To the other side of the holdout."""
    return replace(record, split="val" if record.split == "train" else "train") if record.key == KITE else record


def renamed(name: str) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[1][0].name = name

    return change


def stamped(at: int = 1, **changes: Any) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    """Gives one member another time, owner or mode."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        for name, value in changes.items():
            setattr(members[at][0], name, value)

    return change


def in_pax_form(build: Path) -> None:
    """Writes the header of one member in pax form, in three blocks."""
    path = build / "data/00000.tar"
    data = path.read_bytes()
    with tarfile.open(path) as opened:
        text = opened.getmembers()[1]
    text.pax_headers = {"comment": "x"}
    longer = text.tobuf(tarfile.PAX_FORMAT)
    path.write_bytes(data[: text.offset] + longer + data[text.offset_data :])
    index = build / "data/00000.tar.idx"
    first, *rest = struct.unpack(f"<{index.stat().st_size // 8}Q", index.read_bytes())
    moved = [first, *(at + len(longer) - tarfile.BLOCKSIZE for at in rest)]
    index.write_bytes(struct.pack(f"<{len(moved)}Q", *moved))
    seal(build)


def content(at: int, data: bytes) -> Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[at] = members[at][0], data

    return change


FILES: list[tuple[str, str, str, Callable[[Path], Any]]] = [
    ("unreadable", "webdataset", "tar cut off", truncated("data/00000.tar", 5000)),
    ("image", "webdataset", "bytes", in_tar(content(0, b"\xff\xd8\xff other"))),
    ("image", "webdataset", "source", in_sample(lambda s: s["image"].update(source_sha256="0" * 64))),
    ("image", "webdataset", "format", in_sample(lambda s: s["image"].update(format="png"))),
    ("tar", "webdataset", "renamed", in_tar(renamed("other.txt"))),
    ("tar", "webdataset", "traversal", in_tar(renamed("../../../etc/x.txt"))),
    ("tar", "webdataset", "dotted key", in_tar(renamed(f"{KITE}.en.txt"))),
    ("tar", "webdataset", "missing member", in_tar(lambda m: m.pop(1))),
    ("tar", "webdataset", "members out of order", in_tar(lambda m: [m[0], m[2], m[1], *m[3:]])),
    ("tar", "webdataset", "one more member", in_tar(lambda m: [(tarfile.TarInfo("README"), b"read me"), *m])),
    ("tar", "webdataset", "link", in_tar(lambda m: setattr(m[1][0], "type", tarfile.SYMTYPE))),
    ("header", "webdataset", "time", in_tar(stamped(mtime=1_700_000_000))),
    ("header", "webdataset", "user", in_tar(stamped(uid=1000))),
    ("header", "webdataset", "group", in_tar(stamped(gid=1000))),
    ("header", "webdataset", "name of the user", in_tar(stamped(uname="root"))),
    ("header", "webdataset", "mode", in_tar(stamped(mode=0o600))),
    ("header", "webdataset", "of an image", in_tar(stamped(0, mtime=1))),
    ("header", "webdataset", "in pax form", in_pax_form),
    ("tar index", "webdataset", "offset", lambda b: (flip(b / "data/00000.tar.idx", 8), seal(b))),
    ("tar index", "webdataset", "length", replaced_by("data/00000.tar.idx", b"1234567")),
    ("sample", "webdataset", "not JSON", in_tar(content(2, b"{"))),
    ("sample", "webdataset", "version", in_sample(lambda s: s.update(v="2.0"))),
    ("sample", "webdataset", "field", in_sample(lambda s: s.update(extra="x"))),
    ("sample", "webdataset", "null", in_sample(lambda s: s.update(reason=None))),
    ("sample", "webdataset", "type", in_sample(lambda s: s["captions"][0].update(text=["a", "b"]))),
    ("sample", "webdataset", "flat text", in_sample(lambda s: s.update(caption_long="Something else."))),
    ("sample", "webdataset", "missing flat text", in_sample(lambda s: s.pop("raw_caption"))),
    ("sample", "webdataset", "field of a tag", in_sample(lambda s: first_tag(s).update(x=1))),
    ("txt", "webdataset", "text", in_tar(content(1, b"Something else."))),
    ("txt", "webdataset", "line end", in_tar(content(1, b"Two red kites above dunes.\n"))),
]
"""Kind of the problem, format, a name, and the damage to the build."""


@pytest.mark.parametrize(("kind", "format", "name", "damage"), FILES, ids=[f"{k}: {n}, {f}" for k, f, n, _ in FILES])
def test_damaged_files_are_found(kind: str, format: str, name: str, damage: Any, out: Path) -> None:
    check_found(kind, format, damage, out)


def test_flair_lists_need_a_profile_in_the_manifest(out: Path) -> None:
    build = out / "builds/webdataset"
    in_sample(lambda body: body.update(raw_caption=["red kite over the dunes"]))(build)
    assert {problem.kind for problem in found(build)} == {"sample"}
