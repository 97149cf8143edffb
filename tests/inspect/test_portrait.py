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
from recaption.inspect.pixels import NotThere, read_image
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
    assert "as stored" in text and "no picture: " in text and "rejected" not in text


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
def test_the_picture_is_found_in_every_format(build: str) -> None:
    """A sidecar's are in the source's tars, found from the output's folder."""
    layout = find(str(GOLDEN / "output" / "builds" / build))
    with open_layout(layout) as connection:
        rows = connection.execute(
            "SELECT key, sha256 FROM images WHERE status IN ('ok', 'partial') ORDER BY key"
        ).fetchall()
        found = {key: read_image(connection, layout, key) for key, _ in rows}
        assert isinstance(read_image(connection, layout, "nosuch"), NotThere)
    same = [isinstance(data := found[key], bytes) and hashlib.sha256(data).hexdigest() == sha for key, sha in rows]
    assert not any(isinstance(data, NotThere) for data in found.values())
    assert all(same) if build == "sidecar" else sum(same) > len(same) / 2  # the others have PNGs as JPEG


def test_a_picture_that_is_gone_is_said(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "output", tmp_path / "output", symlinks=True)
    assert "no picture: 00001.tar of the source is not there" in page(tmp_path / "output" / "builds" / "sidecar", KEY)
