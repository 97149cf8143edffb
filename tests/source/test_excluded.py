from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recaption.errors import SourceError
from recaption.source.excluded import read_excluded

RAW = [hashlib.sha256(bytes([i])).digest() for i in range(3)]
HEX = [raw.hex() for raw in RAW]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([*HEX, None]),
        pa.array([HEX[0].upper(), f"{HEX[1]}\n", f" {HEX[2]}\r\n", "", " \n"]),
        pa.array([*RAW, None]),
        pa.array([*RAW, None], pa.binary(32)),
        pa.array([HEX[0].encode(), HEX[1].upper().encode(), f"{HEX[2]}\n".encode(), None, b""]),
        pa.array([*HEX, HEX[0], None], pa.large_string()),
        pa.array([*HEX, None]).dictionary_encode(),
    ],
)
def test_hashes_may_be_hex_or_binary(tmp_path: Path, column: pa.Array) -> None:
    pq.write_table(pa.table({"sha256": column, "other": [1] * len(column)}), tmp_path / "x.parquet")
    assert read_excluded(str(tmp_path / "x.parquet")) == frozenset(HEX)


def test_a_text_file_has_one_hash_per_line(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text(f"{HEX[0]}\r\n\n{HEX[1].upper()}  a photo.jpg\n\\{HEX[2]} *b\\nc.jpg\n", "utf-8-sig")
    assert read_excluded(str(path)) == frozenset(HEX)


@pytest.mark.parametrize("value", ["nonsense", HEX[0][:-1], HEX[0] + "0", b"\xff" * 31, 7, f"{HEX[0]}\n{HEX[1]}"])
def test_a_value_that_is_no_hash_is_an_error_that_names_it(tmp_path: Path, value: object) -> None:
    pq.write_table(pa.table({"sha256": [value]}), tmp_path / "x.parquet")
    with pytest.raises(SourceError, match=r"row 0: .* is not a sha256; expected 64 hex digits or 32 bytes"):
        read_excluded(str(tmp_path / "x.parquet"))


def test_an_unreadable_list_is_an_error(tmp_path: Path) -> None:
    pq.write_table(pa.table({"hash": HEX}), tmp_path / "x.parquet")
    (tmp_path / "y.parquet").write_text("no parquet")
    for name in ("x.parquet", "y.parquet", "z.parquet", "z.txt"):
        with pytest.raises(SourceError, match=r"source\.exclude .* cannot be read"):
            read_excluded(str(tmp_path / name))
