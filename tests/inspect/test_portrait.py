from __future__ import annotations

import hashlib
import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from recaption.errors import UserError
from recaption.inspect.connection import open_layout
from recaption.inspect.layout import find
from recaption.inspect.pixels import image_bytes
from recaption.inspect.portrait import print_image

GOLDEN = Path(__file__).parent.parent / "golden"
KEY = "000000012"


def page(path: Path, key: str) -> str:
    layout, file = find(str(path)), io.StringIO()
    with open_layout(layout) as connection:
        print_image(connection, layout, key, Console(file=file, width=100))
    return file.getvalue()


def test_all_about_an_image(dataset: Path) -> None:
    text = page(dataset, "a0")
    for part in ("a0\n", "ok · train · shard 000000, row 0 · 640 × 480", "¹A brown dog", "negation", "feedface"):
        assert part in text
    assert "as stored" in text and "the picture is neither" in text and "rejected" not in text


def test_an_image_that_was_rejected_and_hostile_texts(dataset: Path) -> None:
    text = page(dataset, "a2")
    assert "reject (truncated)" in text and "said [red]no[/red]" in text and "sub-captions" not in text
    assert "[bold]dog[/bold] sits." in page(dataset, "a1")
    assert "\x1b" not in page(dataset, "a1")


def test_a_run_in_progress(run_only: Path) -> None:
    assert "There is no cat." in page(run_only, "a0")
    assert "repetition" in page(run_only, "b2")


def test_a_key_that_there_is_not(dataset: Path) -> None:
    with pytest.raises(UserError, match="has no image with the key 'zz'"):
        page(dataset, "zz\x1b[31m")


@pytest.mark.parametrize("build", ["webdataset", "parquet", "sidecar"])
def test_the_picture_is_found_in_every_format(build: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(GOLDEN / "output", tmp_path / "output", symlinks=True)
    layout = find(str(tmp_path / "output" / "builds" / build))
    with open_layout(layout) as connection:
        rows = connection.execute("SELECT key, sha256 FROM images WHERE status = 'ok' ORDER BY key").fetchall()
        found = {key: image_bytes(connection, layout, key) for key, _ in rows}
        assert image_bytes(connection, layout, "nosuch") is None
    if build == "sidecar":  # its images lie in the source, wherever that is
        assert set(found.values()) == {None}
        return
    assert all(data is not None for data in found.values())
    same = [hashlib.sha256(found[key] or b"").hexdigest() == sha256 for key, sha256 in rows]
    assert sum(same) > len(same) / 2  # the others were encoded anew


def test_the_picture_in_the_source(dataset: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    source = tmp_path / "a.bin"
    source.write_bytes(b"x" * 512 + b"the image")
    path = dataset / "index" / "000000.parquet"
    rows = [row | {"path": str(source)} for row in pq.read_table(path).to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(path)), path)
    layout = find(str(dataset))
    with open_layout(layout) as connection:
        assert image_bytes(connection, layout, "a0") == b"the image"
        source.unlink()
        assert image_bytes(connection, layout, "a0") is None
