"""Tars of exports and of other programs."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

import pytest
from foreign_tars import GOOD, foreign_tar

from recaption.errors import DatasetError, UserError
from recaption.export import load, tars
from recaption.export.base import Options
from recaption.export.dataset import Dataset


@pytest.mark.parametrize("name", ["flair", "cosmos", "open_clip"])
@pytest.mark.parametrize(
    ("members", "kind"),
    [
        ({"jpg": None}, "incomplete sample"),
        ({"jpg": b""}, "empty image"),
        ({"jpg": None, "input.jpg": b"x"}, "incomplete sample"),
        ({"json": b'{"a": '}, "broken json"),
        ({"json": b"[1]"}, "broken json"),
    ],
)
def test_broken_samples_are_problems(name: str, members: Any, kind: str, tmp_path: Path, problems: Any) -> None:
    assert kind in problems(name, foreign_tar(tmp_path, GOOD, **members))
    assert problems(name, foreign_tar(tmp_path, GOOD)) == {}


@pytest.mark.parametrize("name", ["flair", "cosmos", "open_clip"])
@pytest.mark.parametrize(
    ("sizes", "kind", "severity"),
    [
        (None, "no sizes.json", "warning"),
        ({"00000.tar": 3}, "wrong sizes.json", "error"),
        ({"00001.tar": 2}, "wrong sizes.json", "error"),
        ({"00000.tar": "2"}, "broken sizes.json", "error"),
    ],
)
def test_sizes_json_has_to_agree_with_the_tars(
    name: str, sizes: Any, kind: str, severity: str, tmp_path: Path, problems: Any
) -> None:
    assert problems(name, foreign_tar(tmp_path, GOOD, GOOD, sizes=sizes)) == {kind: severity}


def test_large_and_broken_tars_are_problems(tmp_path: Path, problems: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = foreign_tar(tmp_path, GOOD, GOOD)
    monkeypatch.setattr(tars, "PER_TAR", 1)
    assert problems("flair", folder) == {"large tar": "warning"}
    monkeypatch.undo()
    tar = folder / "00000.tar"
    tar.write_bytes(tar.read_bytes()[:3000])
    assert problems("flair", folder) == {"broken tar": "error", "wrong sizes.json": "error"}


def test_a_pattern_or_a_tar_is_checked_and_a_path_without_tars_is_a_user_error(tmp_path: Path, problems: Any) -> None:
    folder = foreign_tar(tmp_path, GOOD)
    for path in (folder / "00000.tar", folder / "{00000..00000}.tar", folder / "*.tar"):
        assert problems("flair", path) == {}
    for path in (tmp_path / "nowhere", tmp_path, folder / "{00000..00001}.tar"):
        with pytest.raises(UserError, match="cannot check"):
            problems("flair", path)


def test_tars_are_plain_ustar_without_time_and_owner(build: Any, plain: Any, exported: Any) -> None:
    dest, _ = exported("flair", build([plain]))
    with tarfile.open(dest / "00000.tar") as tar:
        assert [(m.name, m.mtime, m.uid) for m in tar] == [(f"k0000.{s}", 0, 0) for s in ("jpg", "txt", "json")]
    assert (dest / "00000.tar").stat().st_size % tarfile.RECORDSIZE == 0


def test_samples_whose_image_changed_in_the_source_are_left_out(golden: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(str(golden / "builds/sidecar"))
    tar = tmp_path / "source" / "00000.tar"
    tar.write_bytes(bytes(tar.stat().st_size))
    done = load("flair").export(dataset, str(tmp_path / "a"), Options())
    assert (done.samples, done.left_out) == (7, {"the image is missing in the source, or has changed": 6})
    other = tar.with_name("00001.tar")
    other.write_bytes(bytes(other.stat().st_size))
    with pytest.raises(DatasetError, match="all samples of golden are left out: 13 samples: the image is missing"):
        load("flair").export(dataset, str(tmp_path / "b"), Options())
