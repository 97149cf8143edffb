from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from recaption.errors import ImageError, UserError
from recaption.inspect.connection import open_outputs
from recaption.inspect.image_page import print_image, print_terminal_image, protocol
from recaption.inspect.images import ImageMissing, read_image
from recaption.inspect.paths import find

GOLDEN = Path(__file__).parent.parent / "golden"
KEY = "000000012"


def page(path: Path, key: str) -> str:
    output, file = find(str(path)), io.StringIO()
    with open_outputs(output) as connection:
        print_image(connection, output, key, Console(file=file, width=100))
    return file.getvalue()


def test_all_about_an_image(dataset: Path) -> None:
    text = page(dataset, "a0")
    for part in ("a0\n", "ok · train · shard 000000, row 0 · 640 × 480", "¹A brown dog", "negation", "feedface"):
        assert part in text
    assert "as in the caption" in text and "no image: " in text and "rejected" not in text


def test_an_image_that_was_rejected_and_hostile_texts(dataset: Path) -> None:
    text = page(dataset, "a2")
    assert "reject (truncated)" in text and "said [red]no[/red]" in text and "sub-captions" not in text
    assert "[bold]dog[/bold] sits." in page(dataset, "a1")
    assert "\x1b" not in page(dataset, "a1")


def test_verified_sub_captions_have_their_probability(verified: Path) -> None:
    lines = page(verified, "000000000").splitlines()
    (head,) = [line for line in lines if "weight" in line and "words" in line]
    assert head.split()[:3] == ["#", "p_true", "weight"]
    assert any(line.split()[:3] == ["long", "2", "0.25"] for line in lines)
    assert "p_true" not in page(GOLDEN / "output", "000000000")


def test_a_run_in_progress(run_only: Path) -> None:
    assert "There is no cat." in page(run_only, "a0")
    assert "repetition" in page(run_only, "b2")


def test_a_key_that_there_is_not(dataset: Path) -> None:
    with pytest.raises(UserError, match="has no image with the key 'zz'"):
        page(dataset, "zz\x1b[31m")


@pytest.mark.parametrize("build", ["webdataset", "parquet", "sidecar"])
def test_the_image_is_found_in_every_format(build: str) -> None:
    """A sidecar's are in the source's tars, found from the output's folder."""
    output = find(str(GOLDEN / "output" / "builds" / build))
    with open_outputs(output) as connection:
        rows = connection.execute(
            "SELECT key, sha256 FROM images WHERE status IN ('ok', 'partial') ORDER BY key"
        ).fetchall()
        found = {key: read_image(connection, output, key) for key, _ in rows}
        assert isinstance(read_image(connection, output, "nosuch"), ImageMissing)
    same = [isinstance(data := found[key], bytes) and hashlib.sha256(data).hexdigest() == sha for key, sha in rows]
    assert not any(isinstance(data, ImageMissing) for data in found.values())
    assert all(same) if build == "sidecar" else sum(same) > len(same) / 2  # the others have PNGs as JPEG


def test_the_reason_for_a_missing_image_is_printed(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "output", tmp_path / "output", symlinks=True)
    assert "no image: 00001.tar of the source is missing" in page(tmp_path / "output" / "builds" / "sidecar", KEY)


KITTY = {"TERM": "xterm-kitty"}
ITERM = {"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}


def console(*, terminal: bool = True, colours: str = "truecolor") -> Console:
    return Console(file=io.StringIO(), width=60, force_terminal=terminal, color_system=colours)  # type: ignore[arg-type]


def png(width: int = 64, height: int = 32) -> bytes:
    sink = io.BytesIO()
    made = Image.new("RGB", (width, height), (200, 30, 30))
    made.paste((30, 30, 200), (0, height // 2, width, height))
    made.save(sink, "PNG")
    return sink.getvalue()


def printed(data: bytes, environment: dict[str, str], **how: str) -> str:
    out = console(**how)  # type: ignore[arg-type]
    assert print_terminal_image(data, out, environment)
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_protocols_of_terminals() -> None:
    assert protocol(console(), KITTY) == "kitty"
    assert protocol(console(), ITERM) == "iterm"
    assert protocol(console(), {"TERM": "xterm-256color"}) == "blocks"
    assert protocol(console(), KITTY | {"TMUX": "/tmp/x"}) == "blocks"  # it would swallow the image
    assert protocol(console(colours="standard"), {"TERM": "xterm"}) is None
    assert protocol(console(terminal=False), KITTY) is None
    assert not print_terminal_image(png(), console(terminal=False), KITTY)


def test_kitty_gets_the_image_in_chunks() -> None:
    sink = io.BytesIO()
    Image.effect_noise((300, 200), 90).convert("RGB").save(sink, "PNG")
    chunks = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", printed(sink.getvalue(), KITTY))
    assert len(chunks) > 2 and all(len(data) <= 4096 for _, data in chunks)
    assert [head[-3:] for head, _ in chunks] == ["m=1"] * (len(chunks) - 1) + ["m=0"]
    shown = Image.open(io.BytesIO(base64.b64decode("".join(data for _, data in chunks))))
    assert shown.size == (300, 200)


def test_iterm_gets_a_file() -> None:
    found = re.fullmatch(r"\x1b\]1337;File=inline=1;size=(\d+);[^:]*:([^\x07]*)\x07\n", printed(png(), ITERM))
    assert found and len(base64.b64decode(found[2])) == int(found[1])


def test_half_blocks_have_two_pixels_each() -> None:
    lines = printed(png(), {"TERM": "xterm-256color"}).splitlines()
    assert len(lines) == 10 and all(line.count("▀") == 40 for line in lines)
    assert "38;2;200;30;30" in lines[0] and "38;2;30;30;200" in lines[-1]


@pytest.mark.parametrize("data", [b"", b"not an image", png()[:40]])
def test_bytes_that_are_not_an_image(data: bytes) -> None:
    with pytest.raises(ImageError):
        print_terminal_image(data, console(), KITTY)
