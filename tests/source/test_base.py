"""All kinds of sources read the headers of images while they index them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mutated_images import encoded, exif, picture
from samples import sample, write_tar

from recaption.config import Source as SourceConfig
from recaption.source import open_source
from recaption.source.base import config_stamp

FILES = {
    "a": encoded(picture(), "JPEG", exif=exif(6)),
    "b": encoded(picture(), "JPEG")[:-2],
    "c": b"<html>",
    "d": encoded(picture(), "PNG"),
}


@pytest.mark.usefixtures("looks")
@pytest.mark.parametrize("kind", ["webdataset", "parquet", "folder"])
@pytest.mark.parametrize("orientation", ["exif", "stored"])
def test_headers_are_in_the_index(kind: str, orientation: str, tmp_path: Path) -> None:
    if kind == "webdataset":
        write_tar(tmp_path / "s.tar", [sample(key, data) for key, data in FILES.items()])
    elif kind == "parquet":
        pq.write_table(pa.table({"key": list(FILES), "image": list(FILES.values())}), tmp_path / "s.parquet")
    else:
        for key, data in FILES.items():
            (tmp_path / f"{key}.jpg").write_bytes(data)
    source = open_source(SourceConfig(path=str(tmp_path), format=kind, orientation=orientation))  # type: ignore[arg-type]
    (shard,) = source.shards()
    images = source.index(shard)
    assert [image.reason for image in images] == [None, "truncated", "undecodable", None]
    assert [(image.format, image.width, image.height) for image in images] == [
        ("jpeg", 64, 48),
        (None, None, None),
        (None, None, None),
        ("png", 64, 48),
    ]
    assert [image.orientation for image in images] == [6 if orientation == "exif" else None, None, None, None]
    assert all(image.sha256 for image in images)


def test_an_index_is_rebuilt_for_another_orientation_and_for_a_newly_readable_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tar(tmp_path / "s.tar", [sample("a", FILES["a"])])
    configs = [SourceConfig(path=str(tmp_path), orientation=orientation) for orientation in ("exif", "stored")]
    (shard,) = open_source(configs[0]).shards()
    stamps = {config_stamp(config, shard) for config in configs}
    monkeypatch.setattr("recaption.decode.supported", lambda kind: kind == "HEIF")
    assert len(stamps | {config_stamp(configs[0], shard)}) == 3
