"""Tars that are cut off or compressed."""

from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
from loading import opened, raw_text
from samples import jpeg, sample, write_tar

from recaption.errors import DatasetError
from recaption.load import CaptionDataset


def test_a_truncated_tar_of_others(tmp_path: Path) -> None:
    write_tar(tmp_path / "t.tar", [sample(f"{n}", jpeg(n)) for n in range(4)])
    whole = (tmp_path / "t.tar").read_bytes()
    for cut, why in ((700, "before the end of 0.jpg"), (-len(whole) % 512 + 9 * 1024, "cut off"), (1, "cut off")):
        (tmp_path / "t.tar").write_bytes(whole[:cut])
        with pytest.raises(DatasetError, match=f"{why}.*\\(shard t\\)"):
            opened(tmp_path, policy=raw_text, batch_size=1)
    (tmp_path / "t.tar").write_bytes(b"\x1f\x8b" + bytes(1000))
    with pytest.raises(DatasetError, match="compressed with gzip"):
        opened(tmp_path, policy=raw_text, batch_size=1)
    (tmp_path / "t.tar").write_bytes(b"\x1f\x8c" + bytes(1000))
    with pytest.raises(DatasetError, match="no tar header at byte 0"):
        opened(tmp_path, policy=raw_text, batch_size=1)


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_tar_whose_content_is_compressed_is_refused(compress: Callable[[bytes], bytes], tmp_path: Path) -> None:
    write_tar(tmp_path / "0.tar", [sample("a", jpeg(1))])
    (tmp_path / "0.tar").write_bytes(compress((tmp_path / "0.tar").read_bytes()))
    with pytest.raises(DatasetError, match=r"compressed with (gzip|bzip2|xz).*Decompress it to a plain .tar"):
        CaptionDataset(tmp_path, policy=raw_text, batch_size=1)
